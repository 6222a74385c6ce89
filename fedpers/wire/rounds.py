"""The loop over rounds: the calls that Flower's `Strategy.start` makes, from any round on.

`start` begins with round 1, always; a run that goes on begins later.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

TIMEOUT = 3600.0
"""Seconds that Flower's runtimes wait for clients; it is what `start` says."""


@runtime_checkable
class Resumable(Protocol):
    """A Flower strategy whose state can be kept in files and brought back."""

    @property
    def state_type(self) -> type[Any]:
        """The type of its state, from which `fedpers.state` puts it together."""

    def keep(self, arrays: ArrayRecord) -> Any:
        """Return its state after a round, which `fedpers.state` can take apart.

        Args:
            arrays: What all clients are sent next.
        """

    def bring_back(self, state: Any) -> ArrayRecord:
        """Take a state back, before the first round, and return what all clients are sent next."""


def run_rounds(
    strategy: Strategy, grid: Grid, arrays: ArrayRecord, rounds: Iterable[int]
) -> Iterator[tuple[int, ArrayRecord]]:
    """Let a strategy train and evaluate in each of some rounds; yield each that has ended.

    Args:
        strategy: A Flower strategy.
        grid: Reaches the clients.
        arrays: What all clients are sent first.
        rounds: The rounds' numbers.

    Yields:
        The round's number, and what clients would be sent after it.
    """
    training, evaluating = ConfigRecord(), ConfigRecord()
    for number in rounds:
        replies = grid.send_and_receive(strategy.configure_train(number, arrays, training, grid), timeout=TIMEOUT)
        aggregated, _ = strategy.aggregate_train(number, replies)
        arrays = arrays if aggregated is None else aggregated
        replies = grid.send_and_receive(strategy.configure_evaluate(number, arrays, evaluating, grid), timeout=TIMEOUT)
        strategy.aggregate_evaluate(number, replies)
        yield number, arrays
