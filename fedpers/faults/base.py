"""The contract of faults: what befalls a client in a round is a function of (seed, round, client), and of nothing else.

So server and clients know it without a message, whatever the engine, and a run that goes on meets the same faults.
"""

from dataclasses import dataclass
from typing import Literal

from fedpers.errors import Refusing

SIMULATED = "simulated: "
"""How the reasons of failures begin that have been made on purpose, in the traffic table."""

CORRUPTED = "simulated/corrupted"
"""A client's figure: its reply has arrived with flipped bits. It tells the gate's failures from clients' own."""

WORK = "simulated/work"
"""A client's figure: the share of its mini-batches that it had time for, where that is less than all."""

WAITED = "simulated/time"
"""The server's figure: how long it has waited in a round, in the unit of `Fate.time`."""

SKIPPED = "skipped"
"""The server's figure: too few clients answered in a round, which left everything as it was."""

Trouble = Literal["away", "crashed", "late", "lost", "corrupted"]
TROUBLES: dict[Trouble, str] = {
    "away": "it is away",
    "crashed": "it has crashed in training",
    "late": "it is too late",
    "lost": "its reply is lost",
    "corrupted": "its reply is corrupted",
}
"""What may befall a client, and in words. Who is away or crashes learns nothing; the others do, and remember it."""


@dataclass(frozen=True)
class Fate:
    """What befalls one client in one round.

    Args:
        trouble: What keeps the server from hearing what the client has learnt, if anything does.
        work: The share of its mini-batches that it has time for.
        time: How long it takes, in units of what a client of speed 1 takes for all of them.
    """

    trouble: Trouble | None = None
    work: float = 1.0
    time: float = 1.0


FINE = Fate()
"""Nothing befalls the client."""


class Faults(Refusing):
    """Decides what befalls clients; here it is nothing. A group's `_target_` may name any other, by `plugins`."""

    group = "faults"

    def fate(self, seed: int, round: int, client: int) -> Fate:
        """Return what befalls a client that has been sampled.

        Args:
            seed: The run's seed.
            round: The round, counted from 1.
            client: The client's number.
        """
        return FINE

    def patience(self) -> float:
        """Return how long the server waits in a round, in the unit of `Fate.time`; infinite by default."""
        return float("inf")

    def flipped(self) -> float:
        """Return in which share of a corrupted reply's bytes a bit is flipped; at least one is."""
        return 0.0
