"""Models that a run has kept, ready to be used: `fedpers.results.Run(RUN).model(3).classify("cat.png")`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fedpers.config.build import build
from fedpers.data.shards import normalized, pixel_scale
from fedpers.device import CPU
from fedpers.errors import UserError
from fedpers.models.described import FOLDER, FORMAT, LISTING, file_of, rebuild
from fedpers.models.staged import Staged
from fedpers.models.wrapped import as_stages
from fedpers.results.reading import read_object
from fedpers.state import read_tensors


@dataclass(frozen=True)
class Deployed:
    """A model as it is deployed, and how images are made ready for it.

    Args:
        model: The model, in evaluation mode: (n, channels, height, width) to logits (n, classes).
        shape: Channels, height and width of an image.
        mean: Mean of each channel in the data: of bytes scaled to [0, 1], of floats as they are.
        std: Standard deviation of each channel, likewise.
        dtype: What the data were: "uint8", or "float32".
        round: The round after which it was kept.
    """

    model: Staged
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str
    round: int

    def prepare(self, image: "str | Path | Image.Image") -> Tensor:
        """Return an image as the model sees it: (1, channels, height, width), resized and normalized.

        Raises:
            UserError: there is no such file, it is no image, or the data were no images of bytes.
        """
        if self.dtype != "uint8":
            raise UserError(
                f"the model was trained on {self.dtype}, and nobody knows how they would be made from an image file. "
                "Make the tensor, (1, channels, height, width), yourself, take `mean` from it, divide by `std`, and "
                "call `model` with it"
            )
        if not isinstance(image, Image.Image):
            try:
                image = Image.open(image)
            except OSError as error:
                raise UserError(f"{image} is no image that can be read ({error})") from error
        channels, height, width = self.shape
        image = image.convert("RGB" if channels == 3 else "L")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).reshape(1, height, width, channels)
        return normalized(
            pixels, torch.zeros(1, dtype=torch.int64), *pixel_scale(self.mean, self.std, pixels.dtype), CPU
        ).inputs

    @torch.no_grad()
    def probabilities(self, image: "str | Path | Image.Image") -> Tensor:
        """Return the probability of each class: (classes,)."""
        answer: Tensor = self.model(self.prepare(image)).softmax(1)[0]
        return answer

    def classify(self, image: "str | Path | Image.Image") -> int:
        """Return the most probable class."""
        return int(self.probabilities(image).argmax())


def load_model(folder: Path, client: int | str, plugins: Iterable[str] = ()) -> Deployed:
    """Load a model from a run directory.

    Args:
        folder: The run directory.
        client: A client's number, or "global".
        plugins: Modules of your own that the model is made of.

    Raises:
        UserError: there is no such model, its files are damaged, or it is made of what is not allowed.
    """
    listing = _read(folder / FOLDER / LISTING)
    known = {**listing["clients"], **({"global": listing["global"]} if "global" in listing else {})}
    if str(client) not in known:
        numbers = [int(each) for each in listing["clients"]]
        also = ' or "global"' if "global" in known else "; there is no global model"
        raise UserError(
            f"{folder} holds no model of client {client!r}. Accepted: {min(numbers)} to {max(numbers)}{also}"
        )
    about = known[str(client)]
    if "error" in about:
        raise UserError(f"the model of client {client} could not be kept: {about['error']}")
    path = folder / FOLDER / file_of(client)
    try:
        tensors = read_tensors(path, about["sha256"])
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: it is not what was written") from error
    specs, shape = listing["models"], tuple(listing["shape"])
    spec = specs[client % len(specs) if isinstance(client, int) else 0]
    base = as_stages(build(spec, "model", plugins=plugins, shape=shape, num_classes=listing["num_classes"]))
    model = rebuild(about["stages"], tensors, base, plugins)
    scale = tuple(listing["mean"]), tuple(listing["std"])
    return Deployed(model, shape, *scale, listing.get("dtype", "uint8"), listing["round"])


def _read(path: Path) -> dict[str, Any]:
    found = read_object(
        path,
        "the run has kept no models. Run it with save=last or save=best; resume=RUN does so for one that has not ended",
    )
    if found.get("format") != FORMAT:
        raise UserError(f"{path} is of another version of fedpers")
    return found
