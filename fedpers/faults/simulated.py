"""Simulated faults: absence, stragglers, crashes, lost and corrupted replies.

Which clients are away or slow is drawn from streams of their own, so that more of one fault leaves the others as they
were, and whoever is away at a dropout of 0.2 is away at 0.4 too.
"""

import math
from dataclasses import dataclass
from typing import Literal

from fedpers import seeds
from fedpers.faults.base import Fate, Faults, Trouble


@dataclass(frozen=True)
class SimulatedFaults(Faults):
    """Every kind of fault that clients of a real federation have, each as often as it is asked for.

    A client's time for a round is what a client of speed 1 needs, 1, divided by its speed, times the jitter: whoever
    needs longer than the deadline is a straggler. Partial work is that of Li et al., "Federated Optimization in
    Heterogeneous Networks" (MLSys 2020, https://arxiv.org/abs/1812.06127), by mini-batches instead of epochs.

    Args:
        dropout: Share of the sampled clients that are away, in the mean over rounds.
        pattern: When they are away: in each round anew ("independent"), in their time zone's night ("diurnal"), or for
            several rounds on end ("markov", a chain of two states in equilibrium).
        period: Rounds of a day; the share that is away at its worst hour is twice the mean (at most 1).
        absence: Mean length of an absence in rounds, with "markov".
        speeds: Classes of speed; every client is drawn into one of them.
        jitter: Standard deviation of the logarithm of a client's time, drawn in each round.
        deadline: How long the server waits; None for as long as it takes.
        late: What comes of those that need longer: their update is not taken ("dropped"), or they train as many
            mini-batches as they have time for ("partial").
        crash: Share of trainings that crash.
        loss: Share of replies that are lost on their way.
        corruption: Share of replies that arrive with bits that are not as they were sent.
        flips: Share of a corrupted reply's bytes in which a bit is flipped; at least one is.
    """

    dropout: float
    pattern: Literal["independent", "diurnal", "markov"]
    period: int
    absence: float
    speeds: tuple[float, ...]
    jitter: float
    deadline: float | None
    late: Literal["dropped", "partial"]
    crash: float
    loss: float
    corruption: float
    flips: float

    def __post_init__(self) -> None:
        """Check ranges."""
        for key in ("dropout", "crash", "loss", "corruption", "flips"):
            self.require(key, 0 <= getattr(self, key) <= 1, "a share in [0, 1]")
        self.require("period", self.period >= 2, "a whole number of at least 2")
        self.require("absence", self.absence >= 1, "at least 1")
        self.require("speeds", len(self.speeds) > 0 and min(self.speeds) > 0, "numbers above 0, at least one")
        self.require("jitter", self.jitter >= 0, "at least 0")
        self.require("deadline", self.deadline is None or self.deadline > 0, "above 0, or null")
        if self.pattern == "markov":
            least = self.dropout / (1 - self.dropout) if self.dropout < 1 else math.inf
            self.require("absence", self.absence >= least, f"at least {least:.3g} with faults.dropout={self.dropout}")

    def patience(self) -> float:
        """Return the deadline."""
        return math.inf if self.deadline is None else self.deadline

    def flipped(self) -> float:
        """Return in which share of a corrupted reply's bytes a bit is flipped."""
        return self.flips

    def fate(self, seed: int, round: int, client: int) -> Fate:
        """Draw what befalls a client; the first trouble on its way is the one that counts."""
        time, work = self.time(seed, round, client), 1.0
        is_late = time > self.patience()
        if is_late and self.late == "partial":
            work, time, is_late = self.patience() / time, self.patience(), False
        troubles: tuple[tuple[Trouble, bool], ...] = (
            ("away", self.is_away(seed, round, client)),
            ("crashed", self._strikes("crash", self.crash, seed, round, client)),
            ("late", is_late),
            ("lost", self._strikes("loss", self.loss, seed, round, client)),
            ("corrupted", self._strikes("corruption", self.corruption, seed, round, client)),
        )
        return Fate(next((name for name, happens in troubles if happens), None), work, time)

    def time(self, seed: int, round: int, client: int) -> float:
        """Return how long a client needs for all its work."""
        speed = self.speeds[int(seeds.numpy_generator(seed, "speed", client=client).integers(len(self.speeds)))]
        if not self.jitter:
            return 1 / speed
        return math.exp(self.jitter * _normal(seed, round, client)) / speed

    def is_away(self, seed: int, round: int, client: int) -> bool:
        """Tell whether a client is away."""
        p = self.dropout
        if self.pattern == "markov":
            return self._is_absent(seed, round, client)
        if self.pattern == "diurnal":
            zone = seeds.numpy_generator(seed, "time zone", client=client).random()
            p += min(p, 1 - p) * math.sin(2 * math.pi * (round / self.period + zone))
        return self._strikes("away", p, seed, round, client)

    def _is_absent(self, seed: int, round: int, client: int) -> bool:
        """Follow a client's chain from the first round on: it stays away with 1 - 1 / absence, and starts anywhere."""
        p, back = self.dropout, 1 / self.absence
        if p in (0, 1):
            return p == 1
        draws = seeds.numpy_generator(seed, "absence", client=client).random(round)
        is_absent = bool(draws[0] < p)
        for draw in draws[1:]:
            is_absent = bool(draw < (1 - back if is_absent else back * p / (1 - p)))
        return is_absent

    def _strikes(self, what: str, share: float, seed: int, round: int, client: int) -> bool:
        """Tell whether what happens to a share of clients happens to this one."""
        return share > 0 and bool(seeds.numpy_generator(seed, what, round=round, client=client).random() < share)


def _normal(seed: int, round: int, client: int) -> float:
    return float(seeds.numpy_generator(seed, "jitter", round=round, client=client).standard_normal())
