"""What the benchmark writes: a page, all figures as JSON, and a figure of how seconds a round grow."""

import dataclasses
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from experiments.benchmark.measure import Timing
from experiments.benchmark.workloads import WORKLOADS
from experiments.machinery.pages import markdown_table
from plots import style

NAME = "benchmark_engines"


@dataclass(frozen=True)
class Target:
    """A ratio of two subjects' seconds a round that is aimed at.

    Args:
        workload: On which workload.
        subject: The numerator.
        reference: The denominator.
        at_most: Its upper limit.
        at_least: Its lower limit.
    """

    workload: str
    subject: str
    reference: str
    at_most: float | None = None
    at_least: float | None = None

    def judge(self, ratio: float) -> str:
        """Tell whether a ratio meets the target, and by how much it misses."""
        if self.at_most is not None and ratio > self.at_most:
            return f"missed by {ratio - self.at_most:.2f}"
        if self.at_least is not None and ratio < self.at_least:
            return f"missed by {self.at_least - ratio:.1f}"
        return "met"

    def __str__(self) -> str:
        """Return the limit."""
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"


@dataclass(frozen=True)
class Share:
    """What a phase takes of a round, and the limit that is aimed at.

    Args:
        workload: On which workload.
        subject: Whose round.
        at_most: The upper limit of the share.
        without: The subject that does the same but for the phase, scoring; empty: the phase is the server half.
    """

    workload: str
    subject: str
    at_most: float
    without: str = ""

    def row(self, timings: Mapping[tuple[str, str], Timing]) -> list[str]:
        """Return what it is, measured, aimed at, and the verdict."""
        timing = timings[self.workload, self.subject]
        if self.without:
            share = 1 - timings[self.workload, self.without].seconds / timing.seconds
        else:
            share = statistics.median(s / r for s, r in zip(timing.server, timing.rounds, strict=True))
        verdict = "met" if share <= self.at_most else f"missed by {100 * (share - self.at_most):.1f} %"
        what = f"{'scoring' if self.without else 'server'}: {self.subject}"
        return [self.workload, what, f"{100 * share:.1f} %", f"at most {100 * self.at_most:g} %", verdict]


@dataclass
class Found:
    """All that was measured.

    Args:
        num_cpus: CPUs of the machine.
        repeats: Timed repeats.
        rounds: Rounds of each.
        timings: By workload and subject.
        by_clients: W2 on Ray, by number of clients.
        by_sampled: W2 on Ray, by clients sampled a round.
        startups: Quickstart, by subject.
    """

    num_cpus: int
    repeats: int
    rounds: int
    timings: dict[tuple[str, str], Timing] = field(default_factory=dict)
    by_clients: dict[int, Timing] = field(default_factory=dict)
    by_sampled: dict[int, Timing] = field(default_factory=dict)
    startups: dict[str, Timing] = field(default_factory=dict)


def write(folder: Path, found: Found, targets: Sequence[Target], shares: Sequence[Share], command: str) -> list[Path]:
    """Write everything and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / f"{NAME}.md", folder / f"{NAME}.json"
    page.write_text(markdown(found, targets, shares, command))
    data.write_text(json.dumps(as_json(found), indent=1) + "\n")
    return [page, data, *draw(found, folder)]


def markdown(found: Found, targets: Sequence[Target], shares: Sequence[Share], command: str) -> str:
    """Return the page."""
    about = "; ".join(f"{workload.name} is {workload.about}" for workload in WORKLOADS.values())
    parts = [
        "# Speed of the engines",
        f"    {command}",
        f"{about}. W1 and W2 are FedAvg with one local epoch; no evaluation unless it is said, float32. "
        f"Median seconds of a round after the first, over "
        f"{found.repeats} interleaved repeats of {found.rounds} rounds (W2: twice as many; Flower's runtime: 4) "
        f"in fresh processes; start-up: from the end of the imports to the end of the first round; "
        f"memory: the highest proportional set "
        f"size (PSS) of all processes together, in a run that is not timed. {found.num_cpus} CPUs, "
        f"{platform.system()}, PyTorch {torch.__version__}.",
        "The bare loop makes the same steps on data in memory, no federation; its two processes are the limit. In W3 "
        "it has the same losses behind a frozen head, observes what clients would send and trains a head on as many "
        "rows. "
        "Before each run the images are read once, so that none waits for the disk.",
        markdown_table(["", "subject", "seconds a round", "fastest", "start-up, s", "memory, GB"], _timing_rows(found)),
        "## Targets",
        markdown_table(["", "ratio", "measured", "target", ""], _target_rows(found, targets)),
        "## Phases",
        "The server half's share of a round, and what scoring all clients adds to one, as a share of the longer round.",
        markdown_table(["", "phase", "share", "target", ""], [share.row(found.timings) for share in shares]),
        "## Growth",
        "W2 on Ray with two workers. The clients that are not sampled should cost nothing.",
        markdown_table(
            ["", "seconds a round", "ratio", "start-up, s", "memory, GB"],
            [
                *_growth_rows("clients, 100 sampled", found.by_clients),
                *_growth_rows("sampled of 1,000", found.by_sampled),
            ],
        ),
        f"![Seconds a round]({NAME}.png)",
        "## Start-up of quickstart",
        markdown_table(
            ["", "seconds from the end of the imports to the end of round 1"],
            [[name, f"{statistics.median(timing.first):.1f}"] for name, timing in found.startups.items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _timing_rows(found: Found) -> list[list[str]]:
    return [
        [
            workload,
            subject,
            f"{timing.seconds:.3f}",
            f"{min(timing.rounds):.3f}",
            f"{statistics.median(timing.first):.1f}",
            f"{timing.peak / 1e9:.2f}",
        ]
        for (workload, subject), timing in found.timings.items()
    ]


def _target_rows(found: Found, targets: Sequence[Target]) -> list[list[str]]:
    rows = []
    for target in targets:
        above, below = (found.timings[target.workload, name].seconds for name in (target.subject, target.reference))
        names = f"{target.subject} / {target.reference}"
        rows.append([target.workload, names, f"{above / below:.2f}", str(target), target.judge(above / below)])
    return rows


def _growth_rows(what: str, timings: dict[int, Timing]) -> list[list[str]]:
    first = next(iter(timings.values())).seconds
    return [
        [
            f"{number:,} {what}",
            f"{timing.seconds:.3f}",
            f"{timing.seconds / first:.2f}",
            f"{statistics.median(timing.first):.1f}",
            f"{timing.peak / 1e9:.2f}",
        ]
        for number, timing in timings.items()
    ]


def as_json(found: Found) -> dict[str, Any]:
    """Return everything that was measured, every single round of it."""
    timings = [
        {"workload": workload, "subject": subject, **dataclasses.asdict(timing)}
        for (workload, subject), timing in found.timings.items()
    ]
    growth = {
        name: {str(number): dataclasses.asdict(timing) for number, timing in getattr(found, name).items()}
        for name in ("by_clients", "by_sampled", "startups")
    }
    return {"num_cpus": found.num_cpus, "repeats": found.repeats, "rounds": found.rounds, "timings": timings, **growth}


def draw(found: Found, folder: Path) -> list[Path]:
    """Draw seconds a round by sampled clients and by all clients."""
    with style.context():
        made = style.new_figure(style.PAGE, 2.4)
        left, right = made.subplots(1, 2)
        _curve(left, found.by_sampled, "clients sampled a round, of 1,000")
        sizes = sorted(found.by_sampled)
        per_client = found.by_sampled[sizes[-1]].seconds / sizes[-1]
        left.plot(
            [0, sizes[-1]], [0, per_client * sizes[-1]], "--", color="#555555", linewidth=0.8, label="proportional"
        )
        left.legend(loc="upper left")
        left.set_xlim(0)
        _curve(right, found.by_clients, "clients in all, 100 sampled")
        right.set_xscale("log")
        right.set_xticks(list(found.by_clients), [f"{number:,}" for number in found.by_clients])
        return style.save(made, folder, NAME)


def _curve(axes: Axes, timings: dict[int, Timing], label: str) -> None:
    """Draw medians, with the middle half of the rounds as a bar."""
    color = style.look(0)[0]
    for number, timing in timings.items():
        low, _, high = statistics.quantiles(timing.rounds, n=4)
        axes.plot([number, number], [low, high], color=color, linewidth=0.9)
    axes.plot(list(timings), [t.seconds for t in timings.values()], "o-", color=color, markersize=3.5, label="median")
    axes.set_xlabel(label)
    axes.set_ylabel("seconds a round")
    axes.set_ylim(0)
