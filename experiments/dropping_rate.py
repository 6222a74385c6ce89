"""How fast FedD2S drops layers from the federation: `python -m experiments.dropping_rate`."""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import FEDD2S, FEDD2S_PLUS, LOCAL, cifar10, glyphs, laptop, paper, smoke
from experiments.machinery.study import Arm, Study


def arms(*intervals: int, base: Arm = FEDD2S) -> tuple[Arm, ...]:
    """Return FedD2S, in one of its forms, with each interval, adaptive, without dropping, and Local."""
    return (
        *(
            Arm(f"every {n} round{'s' * (n > 1)}", (*base.overrides, f"strategy.dropping_interval={n}"))
            for n in intervals
        ),
        Arm("adaptive", (*base.overrides, "strategy.dropping=adaptive")),
        Arm("no dropping", (*base.overrides, "strategy.dropping=none")),
        LOCAL,
    )


SCORED = ("eval_every=1",)
"""Adaptive dropping sees scored rounds only."""

SCALES = {
    "smoke": smoke(arms(1, 2)),
    "laptop": laptop(arms(1, 2, 4, 6, 12)),
    "cifar10": cifar10(arms(2, 4, 8, 12, base=FEDD2S_PLUS), also=SCORED),
    "glyphs": glyphs(arms(2, 5, 10, 15, base=FEDD2S_PLUS), also=SCORED),
    "paper": paper(arms(5, 10, 25, 50)),
}

STUDY = Study(
    name="dropping_rate",
    question="How fast should layers leave the federation?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "dropping_rate"),
)

if __name__ == "__main__":
    as_command(STUDY)
