"""What a run in progress keeps of itself: after each round it knows its whole state, and writes it when that is due.

However the run ends, but for being killed, the last round that was finished is written on the way out.
"""

import contextlib
import time
from types import TracebackType
from typing import Any, Self

from flwr.app import ArrayRecord

from fedpers.checkpoint import Checkpoints, Remembers, Snapshot
from fedpers.errors import UserError
from fedpers.state import put_together, take_apart
from fedpers.wire.rounds import Resumable


class Keeper:
    """Keeps nothing: the state of such a run is out of reach."""

    def bring_back(self, snapshot: Snapshot) -> ArrayRecord:
        """Give server and clients what they remembered, and return what clients are sent next.

        Raises:
            UserError: that cannot be done.
        """
        raise UserError(
            "this run cannot go on: its clients or its strategy keep their state to themselves. Accepted: "
            "engine=local or engine=ray, and a strategy of fedpers or one that has `keep` and `bring_back`"
        )

    def round_done(self, round: int, arrays: ArrayRecord) -> None:
        """A round has ended.

        Args:
            round: The round.
            arrays: What all clients would be sent next.
        """

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, whatever happened."""


class CheckpointKeeper(Keeper):
    """Keeps server and clients in checkpoints.

    Args:
        strategy: Has the server's state.
        clients: Know what they remember.
        checkpoints: Where to write.
        start: When the run started, by `time.perf_counter`.
    """

    def __init__(self, strategy: Resumable, clients: Remembers, checkpoints: Checkpoints, start: float) -> None:
        """Begin with nothing to write."""
        self._strategy, self._clients, self._checkpoints, self._start = strategy, clients, checkpoints, start
        self._latest: tuple[int, Any] | None = None
        self._is_new = True

    def bring_back(self, snapshot: Snapshot) -> ArrayRecord:
        """Give server and clients what they remembered, and return what clients are sent next."""
        for client, memory in snapshot.memories.items():
            self._clients.remind(client, memory)
        return self._strategy.bring_back(put_together(self._strategy.state_type, snapshot.tensors, snapshot.plain))

    def round_done(self, round: int, arrays: ArrayRecord) -> None:
        """Know the state after a round, and write it when that is due."""
        self._clients.end_round()
        if self._checkpoints.every != 0:
            self._latest = round, self._state(arrays)
        if self._checkpoints.due(round):
            self._write()

    def _state(self, arrays: ArrayRecord) -> Any:
        try:
            state = self._strategy.keep(arrays)
            if self._is_new:
                take_apart(state)
        except TypeError as error:
            raise UserError(
                f"the server's state cannot be kept: {error}. Accepted: a state of tensors, numbers and names, or "
                "checkpoint_every=0"
            ) from error
        self._is_new = False
        return state

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what has not been written; what ends the run is not hidden by a disk that is full."""
        with contextlib.suppress(UserError) if error else contextlib.nullcontext():
            self._write()

    def _write(self) -> None:
        if self._latest:
            round, state = self._latest
            self._checkpoints.write(round, time.perf_counter() - self._start, state, self._clients)
            self._latest = None


def keeper_of(strategy: Any, grid: Any, checkpoints: Checkpoints, start: float) -> Keeper:
    """Return what keeps a run's state; nothing can where strategy or clients keep theirs to themselves."""
    if isinstance(strategy, Resumable) and isinstance(grid, Remembers):
        return CheckpointKeeper(strategy, grid, checkpoints, start)
    return Keeper()
