"""A tenth of the clients poisons, and the server averages or defends itself: `python -m experiments.robustness`.

Figures are those of the clients that do not poison. `knowledge trimmed` is FedD2S+ whose heads leave out the fifth of
the clients that they fit worst, beside the rule for its weights.
"""

from experiments.machinery import figures
from experiments.machinery.command import as_command
from experiments.machinery.scales import FEDAVG, FEDD2S_PLUS, FEW_SAMPLES, LOCAL, laptop, paper, smoke
from experiments.machinery.study import Arm, Condition, Study, merge

FEDPER = Arm("FedPer", ("strategy=fedper",))
RULES = {
    "": (),
    "median": ("aggregation=median",),
    "trimmed mean": ("aggregation=trimmed_mean", "aggregation.trim=0.2"),
    "multi-Krum": ("aggregation=multi_krum", "aggregation.attackers=0.2"),
    "geometric median": ("aggregation=geometric_median",),
    "norm clipping": ("aggregation=norm_clipping",),
}
TRIMMED = ("strategy.trim=0.2",)


def defended(base: Arm, *more: tuple[str, tuple[str, ...]]) -> tuple[Arm, ...]:
    """Return a method with each rule of aggregation, and with further defences."""
    return tuple(
        Arm(f"{base.name}, {name}" if name else base.name, merge(base.overrides, rule))
        for name, rule in (*RULES.items(), *more)
    )


ARMS = (
    *defended(FEDAVG),
    *defended(FEDPER),
    *defended(
        FEDD2S_PLUS,
        ("knowledge trimmed", TRIMMED),
        ("median, knowledge trimmed", (*RULES["median"], *TRIMMED)),
        ("multi-Krum, knowledge trimmed", (*RULES["multi-Krum"], *TRIMMED)),
    ),
    LOCAL,
)

SMOKE = ("FedAvg", "FedPer", "FedPer, median", "FedD2S+, knowledge trimmed", "Local")


def attacks(*names: str) -> tuple[Condition, ...]:
    """Return a condition for each attack, all by a tenth of the clients, and one without any."""
    found = (Condition(name.replace("_", " "), (f"attack={name}", "attack.share=0.1")) for name in names)
    return (Condition("nobody poisons"), *found)


EVERY = attacks("label_flip", "sign_flip", "scaled")

SCALES = {
    "smoke": smoke(tuple(arm for arm in ARMS if arm.name in SMOKE), attacks("label_flip", "sign_flip")),
    "laptop": laptop(ARMS, EVERY, merge(FEW_SAMPLES, ("partition.alpha=0.5", "eval_every=24"))),
    "paper": paper(ARMS, EVERY),
}

STUDY = Study(
    name="robustness",
    question="What is left to honest clients of each method when a tenth of the clients poisons, and which rule helps?",
    scales=SCALES,
    draw=lambda found, folder: figures.dots(found, folder, "robustness"),
)

if __name__ == "__main__":
    as_command(STUDY)
