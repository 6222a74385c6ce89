"""What an honest-but-curious server sees of clients' images in FedD2S' knowledge: `python -m experiments.leakage`.

Half of the clients collude with it. By their images and what is sent of them a decoder learns to make images of
representations, and is tried on what the others sent in the last round, at each cut and with each thing that may be
done to representations before they leave. Beside it, for scale: gradients of FedAvg's first step, inverted.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from experiments.inversion import drawing
from experiments.inversion.attack import BATCHES, NUM_BATCHES, decoded, inverted_updates
from experiments.inversion.drawing import Finding
from experiments.machinery.command import as_command
from experiments.machinery.jobs import Tally
from experiments.machinery.outcome import Outcome, estimate
from experiments.machinery.pages import markdown_table
from experiments.machinery.scales import CIFAR, CIFAR10, DIGITS, FASHION_MNIST, FEDD2S, FEW_SAMPLES, THREE_SEEDS
from experiments.machinery.study import Arm, Condition, Overrides, Scale, Study, merge

NOISE = "strategy.knowledge_noise"
VIEWS: dict[str, Overrides] = {
    "as it is": (),
    "pooled to 2x2": ("strategy.pool=2",),
    "pooled to 1x1": ("strategy.pool=1",),
    "projected to 64": ("strategy.projection=64",),
    "projected to 16": ("strategy.projection=16",),
    "clipped, noise 0.05": ("strategy.knowledge_clip=1", f"{NOISE}=0.05"),
    "clipped, noise 0.2": ("strategy.knowledge_clip=1", f"{NOISE}=0.2"),
    "class means": ("strategy.knowledge=class_means",),
    "weights shared, too": ("strategy.share=both", "strategy.trunk=own"),
}
"""What is done to representations; the noise is a standard deviation, of rows of a length of at most 1."""

ARMS = tuple(Arm(name, merge(FEDD2S.overrides, overrides)) for name, overrides in VIEWS.items())
SMOKE = ("as it is", "projected to 16", "class means", "weights shared, too")
KEPT = ("save=last", "strategy.dropping=none")


NOTE = f"""\
Error: squared error of the images that the server makes of what it was sent, in % of that of its best guess without
(the mean image of the class); 100: it learns nothing. Matched: how many of the images it makes are most like the very
image behind them, of all attacked images of that class; chance: the same by a guess. Means over seeds ± half of the
95 % confidence interval. A decoder, kernel ridge regression, learns from all images of the half of the clients that
colludes; attacked are the training images of the others, in the last round. Gradients: {NUM_BATCHES} batches a seed,
labels known, first round, by Geiping et al. (2020); an epoch of many steps is harder to invert, and was not tried.
Accuracies above are those of the same runs."""


def cuts(*numbers: int) -> tuple[Condition, ...]:
    """Return a condition for each cut, which is then active in all rounds."""
    return tuple(Condition(f"cut {cut}", (f"strategy.dropping_set=[{cut}]",), cut) for cut in numbers)


MIXED = ("partition=dirichlet", "partition.alpha=0.5")
SCALES = {
    "smoke": Scale(
        merge(DIGITS, KEPT, MIXED),
        tuple(arm for arm in ARMS if arm.name in SMOKE),
        cuts(1, 3),
        (0, 1),
    ),
    "laptop": Scale(
        merge(FASHION_MNIST, KEPT, FEW_SAMPLES, ("partition.alpha=0.5", "eval_every=24")),
        ARMS,
        cuts(1, 2, 3, 4),
        THREE_SEEDS,
    ),
    "paper": Scale(merge(CIFAR, CIFAR10, KEPT, MIXED), ARMS, cuts(1, 2, 3, 4), THREE_SEEDS),
}


def folders(outcome: Outcome) -> dict[int, Path]:
    """Return the run directories of an outcome, by seed."""
    return {seed: run.folder for seed, run in outcome.runs.items()}


def attack(found: Sequence[Outcome]) -> None:
    """Attack every run, with progress on standard error."""
    with Tally("leakage", 1) as tally:
        tally.expect(sum(len(outcome.runs) for outcome in found))
        for folder in (folder for outcome in found for folder in folders(outcome).values()):
            start = time.perf_counter()
            decoded(folder)
            tally.ended(f"attack on {folder.name}", "", time.perf_counter() - start)


def findings(found: Sequence[Outcome]) -> list[Finding]:
    """Return what each row gives away; what has been attacked already is not attacked again."""
    return [
        Finding(
            outcome.arm.name,
            outcome.condition.name,
            {seed: decoded(folder) for seed, folder in folders(outcome).items()},
            outcome.by_seed("accuracy"),
        )
        for outcome in found
    ]


def gradients(found: Sequence[Outcome]) -> list[Finding]:
    """Invert updates of FedAvg with the images and the model of the first row's runs."""
    return [
        Finding(
            f"FedAvg, one step on {batch} image{'s' * (batch > 1)}",
            "gradient",
            {seed: inverted_updates(folder, batch) for seed, folder in folders(found[0]).items()},
            {},
        )
        for batch in BATCHES
    ]


def sections(found: Sequence[Outcome]) -> list[str]:
    """Return what the server sees, as a table, and what it means."""
    if not found:
        return []
    attack(found)
    rows = [
        [finding.condition, finding.method, *(_cell(finding, measure) for measure in ("error", "matched", "chance"))]
        for finding in [*findings(found), *gradients(found)]
    ]
    headers = ["", "what is sent", "error (%)", "matched (%)", "chance (%)"]
    return ["## What the server sees", markdown_table(headers, rows), NOTE, "![images](leakage_images.png)"]


def _cell(finding: Finding, measure: str) -> str:
    value = estimate(finding.by_seed(measure))
    assert value is not None
    half = "" if value.half is None or measure == "chance" else f" ± {value.half:.1f}"
    return f"{value.mean:.1f}{half}"


def draw(found: Sequence[Outcome], folder: Path) -> list[Path]:
    """Draw how much is given away at each cut, and a few of the images."""
    rows, beside = findings(found), gradients(found)
    return [*drawing.dots(rows, beside, folder, "leakage"), *drawing.images(rows, beside, folder)]


STUDY = Study(
    name="leakage",
    question="What does an honest-but-curious server see of clients' images in what FedD2S sends?",
    scales=SCALES,
    draw=draw,
    sections=sections,
    of_runs=True,
)

if __name__ == "__main__":
    as_command(STUDY)
