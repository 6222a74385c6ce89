"""What the server lets in: a client's update that is not what its algorithm declares is that client's failure.

One value that is no number in one update would make all clients' models worthless, and a bias of shape (1,) would be
broadcast into the average, without a word. So every reply to a training message is looked at before a server half, ours
or one of Flower's, sees it: names, shapes, types, finite values and, with `max_update_norm`, the size of the update.

Entries of the model, also behind a prefix ("control/fc.weight"), have its shapes and types. Of other tensors nobody but
the algorithm knows the shape: all clients' agree, but for the axes that `Algorithm.varies` names.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from flwr.app import MetricRecord, RecordDict
from torch import Tensor

from fedpers.algorithm import Algorithm, Federation, State, kind_of
from fedpers.errors import FederationError
from fedpers.wire import records

Form = tuple[torch.dtype, tuple[int, ...]]
"""A tensor's type and shape."""


class Gate:
    """Tells which clients' updates are broken, and how.

    Args:
        algorithm: Declares what clients send.
        federation: What the server knows before the first round.
    """

    def __init__(self, algorithm: Algorithm, federation: Federation) -> None:
        """Take the model's forms as what its entries have to have; models of several architectures send none."""
        self._algorithm, self._federation = algorithm, federation
        self._sends = algorithm.sends
        self._is_single = len(federation.config.model.get("mixture", ())) <= 1
        model = federation.model().state_dict() if self._is_single else {}
        self._model: dict[str, Form] = {key: _form(tensor) for key, tensor in model.items()}
        self._entries: dict[str, str] = {}
        self._max_norm = federation.config.max_update_norm

    def faults(self, replies: Mapping[int, RecordDict], received: Callable[[int], RecordDict]) -> dict[int, str]:
        """Return what is wrong, by client; clients whose updates are sound are not among them.

        Args:
            replies: What clients sent in answer to a training message, by client.
            received: Tells what a client had been sent.

        Raises:
            FederationError: replies differ, and as many are of one kind as of another.
        """
        found: dict[int, str] = {}
        sent: dict[int, State] = {}
        for client, content in sorted(replies.items()):
            try:
                state = _read(content)
            except Exception as error:  # damaged bytes make NumPy's reader raise whatever its parsers do
                found[client] = f"its reply cannot be read ({type(error).__name__}: {error})"
                continue
            if fault := self._alone(state, received, client):
                found[client] = fault
            else:
                sent[client] = state
        names = _odd_ones("names", {client: frozenset(state) for client, state in sent.items()})
        for client, usual in names.items():
            odd = min(usual ^ sent[client].keys())
            found[client] = f"its update {'lacks' if odd in usual else 'has'} {odd!r}, unlike other clients'"
            del sent[client]
        for name in sorted(next(iter(sent.values()), {})):
            for client, (dtype, shape) in self._of_other_forms(name, sent).items():
                here = sent.pop(client)[name]
                found[client] = f"its {name!r} is {_told(here.dtype, here.shape)}, other clients' {_told(dtype, shape)}"
        values = {client: self._algorithm.fault_in(state, self._federation) for client, state in sent.items()}
        return found | {client: fault for client, fault in values.items() if fault}

    def _alone(self, state: State, received: Callable[[int], RecordDict], client: int) -> str:
        """Return what is wrong with an update whatever others send; empty: nothing."""
        for name, tensor in state.items():
            if kind_of(name) not in self._sends:
                return (
                    f"its update has {name!r}, and its algorithm declares {', '.join(self._sends) or 'nothing'} alone"
                )
            expected = self._model.get(self._entry(name))
            if "/" not in name and expected is None and self._model:
                return f"its update has {name!r}, which the model has not"
            if expected is not None and expected != _form(tensor):
                return f"its {name!r} is {_told(tensor.dtype, tensor.shape)}, the model's {_told(*expected)}"
            if name.endswith("running_var") and bool((tensor < 0).any()):
                return f"its {name!r} holds variances below 0"
            if kind_of(name) == "labels" and tensor.numel() and bool((tensor < 0).any()):
                return f"its {name!r} holds negative numbers"
        if broken := _not_finite(state):
            return (
                f"its {broken!r} holds values that are no finite numbers; where training diverges, a smaller lr helps"
            )
        if (
            self._max_norm is not None
            and (norm := _norm(state, records.view_arrays(received(client)))) > self._max_norm
        ):
            return f"its update is of norm {norm:.3g}, beyond max_update_norm={self._max_norm:g}"
        return ""

    def _entry(self, name: str) -> str:
        """Return the entry of the model that a tensor stands for by its name; empty: none."""
        if name not in self._entries:
            ends = [name, *(name.split("/", count)[-1] for count in range(1, name.count("/") + 1))]
            entry = next((end for end in ends if end in self._model), "")
            self._entries[name] = "" if self._free_axes(name) else entry
        return self._entries[name]

    def _free_axes(self, name: str) -> tuple[int, ...]:
        """Return the axes of a tensor that are of any length."""
        return next((axes for start, axes in self._algorithm.varies.items() if name.startswith(start)), ())

    def _of_other_forms(self, name: str, sent: Mapping[int, State]) -> dict[int, Form]:
        """Return the clients whose tensor is of another form than most of the others', and that form.

        What models of several architectures put out may differ in shape; whether it may, the server half says.
        """
        if self._entry(name) in self._model or not self._is_single:
            return {}
        free = self._free_axes(name)
        forms = {}
        for client, state in sent.items():
            dtype, shape = _form(state[name])
            forms[client] = dtype, tuple(-1 if axis in free else size for axis, size in enumerate(shape))
        return _odd_ones(repr(name), forms)


def _odd_ones(what: str, values: Mapping[int, Any]) -> dict[int, Any]:
    """Return the clients whose value is not the most frequent one, and that one.

    Raises:
        FederationError: two values are equally frequent.
    """
    counts: Counter[Hashable] = Counter(values.values())
    if len(counts) < 2:
        return {}
    (usual, most), (_, next_most) = counts.most_common(2)
    if most == next_most:
        first = {value: client for client, value in reversed(list(values.items()))}
        one, other = sorted(first.values())[:2]
        raise FederationError(
            f"clients {one} and {other} sent different tensors ({what}), and as many clients are like the one as like "
            "the other: nobody can tell which are broken. An algorithm's `train` sends the same from every client"
        )
    return {client: usual for client, value in values.items() if value != usual}


def _read(content: RecordDict) -> State:
    """Return what a reply holds.

    Raises:
        ValueError: it tells of an impossible number of training samples; other errors where it is damaged.
    """
    metrics = records.select(content, MetricRecord).get(records.METRICS, MetricRecord())
    number = metrics.get(records.NUM_EXAMPLES)
    if isinstance(number, list) or number is None or not 0 < number < math.inf or number != int(number):
        raise ValueError(f"it tells of {number} training samples")
    return records.view_arrays(content)


def _form(tensor: Tensor) -> Form:
    return tensor.dtype, tuple(tensor.shape)


def _told(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    sizes = ", ".join("any" if size < 0 else str(size) for size in shape)
    return f"{str(dtype).removeprefix('torch.')} of shape ({sizes})"


def _not_finite(state: State) -> str:
    """Return the first tensor with a value that is not finite; empty: there is none.

    All at once: a norm is finite only if all values are, and the other way round unless it overflows.
    """
    floats = [tensor for tensor in state.values() if tensor.is_floating_point() and tensor.numel()]
    if not floats or math.isfinite(sum(norm.item() for norm in torch._foreach_norm(floats))):
        return ""
    broken = (name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all())
    return next(broken, "")


def _norm(state: State, received: State) -> float:
    """Return the L2 norm of an update: of entries of the model, how far they are from those that were received."""
    total = 0.0
    for name, tensor in state.items():
        if tensor.is_floating_point():
            change = tensor - received[name] if name in received else tensor
            total += float(change.double().square().sum())
    return math.sqrt(total)
