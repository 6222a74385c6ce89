"""Weights to start from: `init=FILE` or `init=RUN`, for fine-tuning and for a warm start."""

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from fedpers.errors import UserError, unknown_name
from fedpers.models.described import FOLDER, file_of
from fedpers.models.staged import Staged


def weights_file(init: str) -> Path:
    """Return the file that `init` names: itself, or a run's global model.

    Raises:
        UserError: there is none.
    """
    path = Path(init).expanduser()
    if not path.is_dir():
        return path
    found = path / FOLDER / file_of("global")
    if not found.is_file():
        raise UserError(
            f"init={init}: the run has kept no global model ({found}). Accepted: a file of weights, such as "
            f"{path / FOLDER / file_of(0)}, or a run of a strategy that has one, with save=last"
        )
    return found


def load_weights(model: Staged, init: str) -> None:
    """Give a model the weights that `init` names.

    Raises:
        UserError: there is no such file, or its tensors are not those of the model.
    """
    path = weights_file(init)
    try:
        found = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"init={init}: {path} holds no weights that can be read ({error})") from error
    expected = model.state_dict()
    for key, tensor in found.items():
        if key not in expected:
            raise unknown_name(f"tensor in {path}:", key, expected)
        if tensor.shape != expected[key].shape:
            raise UserError(
                f"init={init}: {key} has the shape {tuple(tensor.shape)} in {path}, and {tuple(expected[key].shape)} "
                "in the model. Accepted: weights of the same model, see model=NAME and its keys"
            )
    if missing := sorted(expected.keys() - found.keys()):
        raise UserError(f"init={init}: {path} lacks {', '.join(missing)}. Accepted: all weights of the model")
    with torch.no_grad():
        for key, tensor in expected.items():
            tensor.copy_(found[key])


def weights_sha256(init: str | None) -> str | None:
    """Return the hash of the file that `init` names; None without one."""
    return hashlib.sha256(weights_file(init).read_bytes()).hexdigest() if init else None
