"""What studies have in common: the size of their runs at each scale, and the methods they compare."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from experiments.machinery.study import Arm, Condition, Overrides, Scale, merge
from fedpers.config.compose import group_choices

DIGITS: Overrides = (
    "dataset=digits",
    "partition.num_clients=4",
    "partition.max_samples=200",
    "splits=[0.45,0.2,0.35]",
    "model=mlp",
    "model.hidden=[64,64,64,64]",
    "rounds=6",
    "eval_every=1",
    "local_epochs=4",
    "batch_size=8",
    "lr=0.05",
    "momentum=0.9",
    "finetune_epochs=0",
)
"""Smoke: seconds. It shows that a study works; its numbers mean nothing."""

FASHION_MNIST: Overrides = (
    "experiment=fedd2s_fashion_mnist",
    "partition.num_clients=20",
    "splits=[0.34,0.33,0.33]",
    "model.channels=[16,32]",
    "model.hidden=[120,84]",
    "rounds=24",
    "local_epochs=2",
    "batch_size=16",
    "lr=0.05",
    "momentum=0.5",
    "eval_every=1",
    "finetune_epochs=0",
)
"""Laptop: a run takes about 15 seconds.

20 clients with 61 images to train on, 59 to tune on and 60 to test on; five stages, cuts 1 to 4.
"""

CIFAR10_LAPTOP: Overrides = (
    "dataset=cifar10",
    "partition.num_clients=20",
    "splits=[0.4,0.2,0.4]",
    "model=cnn_unpadded",
    "model.channels=[16,32]",
    "model.hidden=[120,84]",
    "rounds=24",
    "local_epochs=2",
    "batch_size=32",
    "lr=0.02",
    "momentum=0.9",
    "eval_every=6",
    "finetune_epochs=0",
)
"""Laptop, on CIFAR-10: a run takes about a minute.

20 clients with 300 images to train on, 150 to tune on and 300 to test on; LeNet-5 with more channels, cuts 1 to 4.
"""

GLYPHS: Overrides = (
    "experiment=fedd2s_glyphs",
    "dataset.num_writers=50",
    "rounds=30",
    "lr=0.05",
    "momentum=0.9",
    "eval_every=6",
    "finetune_epochs=0",
)
"""Laptop, on glyphs: a run takes about a minute, nothing is downloaded.

50 writers with 120 characters to train on, 30 to tune on and 50 to test on, of 62 classes; cuts 1 to 3.
"""

CIFAR: Overrides = ("rounds=100", "eval_every=5", "finetune_epochs=0")
"""Paper: what holds for both datasets."""

CIFAR10: Overrides = ("experiment=fedd2s_cifar10", "model.channels=[32,64]", "model.hidden=[512,128]")
"""All of CIFAR-10: 20 clients, five stages, cuts 1 to 4."""

CIFAR100: Overrides = ("experiment=fedd2s_cifar100",)
"""All of CIFAR-100: 20 clients, ResNet-18, cuts 1 to 5."""

THREE_SEEDS = (0, 1, 2)
FIVE_SEEDS = (0, 1, 2, 3, 4)
TUNING_SEEDS = (100, 101)

FEDD2S = Arm("FedD2S", ("strategy=fedd2s", "strategy.share=knowledge", "strategy.vote=0.0"), closely=True)
"""The paper's idea as we read it: knowledge alone, and a client predicts with its own model."""

VOTING = Arm("FedD2S, vote", ("strategy=fedd2s", "strategy.share=knowledge", "strategy.vote=validation"), closely=True)
WEIGHTS = Arm("FedD2S, weights", ("strategy=fedd2s", "strategy.share=weights", "strategy.vote=0.0"), closely=True)
BOTH = Arm("FedD2S, both", ("strategy=fedd2s", "strategy.share=both", "strategy.vote=0.0"), closely=True)
FEDD2S_PLUS = Arm("FedD2S+", ("strategy=fedd2s", "strategy.share=both", "strategy.vote=validation"), closely=True)
"""Our additions: shared weights beside knowledge, and the head's vote."""

OWN_HEADS, BOTH_OWN_HEADS, PLUS_OWN_HEADS = (
    dataclasses.replace(arm, name=f"{arm.name}, own heads", overrides=(*arm.overrides, "strategy.heads=own"))
    for arm in (FEDD2S, BOTH, FEDD2S_PLUS)
)
"""Controls: heads that learn from their own client alone."""

LOCAL = Arm("Local", ("strategy=local",))
FEDAVG = Arm("FedAvg", ("strategy=fedavg", "finetune_epochs=2"))
FEDAVG_FT = Arm("FedAvg + FT", ("strategy=fedavg", "finetune_epochs=2"), column="finetuned")

Values = tuple[float, ...]


@dataclass(frozen=True)
class Method:
    """What a study has to know of a method.

    Args:
        arms: Its rows in a table.
        main: The one hyper-parameter, besides the learning rate, that it is best known for; empty if it has none.
        values: Values of that to try: equally many for each method, the one in the middle a sensible default.
    """

    arms: tuple[Arm, ...]
    main: str = ""
    values: Values = ()

    def tuned(self, lrs: Values, *, middle: bool) -> tuple[Arm, ...]:
        """Return its arms with what there is to try for each.

        Args:
            lrs: Learning rates.
            middle: Only the value in the middle is tried.
        """
        values = self.values[1:2] if middle else self.values
        grid = (("lr", lrs), *(((self.main, values),) if self.main else ()))
        return tuple(dataclasses.replace(arm, grid=grid) for arm in self.arms)


def _one(name: str, strategy: str, main: str = "", values: Values = ()) -> Method:
    """Return a method with a single arm."""
    return Method((Arm(name, (f"strategy={strategy}",)),), main and f"strategy.{main}", values)


KNOWN = {
    "fedd2s": Method((FEDD2S, OWN_HEADS, VOTING), "strategy.lambda_kl", (0.1, 0.3, 1.0)),
    "fedd2s, both": Method((BOTH, BOTH_OWN_HEADS, FEDD2S_PLUS, PLUS_OWN_HEADS), "strategy.lambda_ce", (0.0, 1.0, 3.0)),
    "fedd2s, weights": Method((WEIGHTS,)),
    "local": Method((LOCAL,)),
    "fedavg": Method((dataclasses.replace(FEDAVG, overrides=("strategy=fedavg",)),)),
    "fedavg+ft": Method((FEDAVG_FT,), "finetune_epochs", (1, 5, 10)),
    "fedprox": _one("FedProx", "fedprox", "mu", (0.01, 0.1, 1.0)),
    "fedper": _one("FedPer", "fedper"),
    "fedrep": _one("FedRep", "fedrep", "head_epochs", (1, 5, 10)),
    "fedbabu": _one("FedBABU", "fedbabu", "tuning_epochs", (1, 5, 10)),
    "lg_fedavg": _one("LG-FedAvg", "lg_fedavg"),
    "ditto": _one("Ditto", "ditto", "lambda_prox", (0.01, 0.1, 1.0)),
    "apfl": _one("APFL", "apfl", "alpha", (0.25, 0.5, 0.75)),
    "pfedsd": _one("pFedSD", "pfedsd", "lambda_kd", (0.1, 0.5, 1.0)),
    "fd": _one("FD", "fd", "lambda_kd", (0.1, 0.3, 1.0)),
    "fedproto": _one("FedProto", "fedproto", "lambda_proto", (0.1, 1.0, 10.0)),
    "fedmd": _one("FedMD", "fedmd", "digest_epochs", (1, 2, 5)),
    "fedgkt": _one("FedGKT", "fedgkt", "lambda_kl", (0.1, 0.3, 1.0)),
    "scaffold": _one("SCAFFOLD", "scaffold"),
    "moon": _one("MOON", "moon", "mu", (0.1, 1.0, 5.0)),
    "feddyn": _one("FedDyn", "feddyn", "alpha", (0.01, 0.1, 1.0)),
    "per_fedavg": _one("Per-FedAvg", "per_fedavg", "adaptation_lr", (0.01, 0.05, 0.1)),
    "pfedme": _one("pFedMe", "pfedme", "lambda_prox", (5.0, 15.0, 30.0)),
    "fedala": _one("FedALA", "fedala", "weights_lr", (0.1, 1.0, 10.0)),
    "fedpac": _one("FedPAC", "fedpac", "lambda_align", (0.1, 1.0, 10.0)),
    "knn_per": _one("kNN-Per", "knn_per", "neighbours", (5, 10, 20)),
    "fedamp": _one("FedAMP", "fedamp", "lambda_prox", (0.01, 0.1, 1.0)),
    "fedfomo": _one("FedFomo", "fedfomo", "downloads", (2, 5, 10)),
    "fedntd": _one("FedNTD", "fedntd", "beta", (0.3, 1.0, 3.0)),
    "fml": _one("FML", "fml", "alpha", (0.25, 0.5, 0.75)),
    "fedkd": _one("FedKD", "fedkd", "lambda_kd", (0.3, 1.0, 3.0)),
    "fedgen": _one("FedGen", "fedgen", "lambda_gen", (0.3, 1.0, 3.0)),
    "fedrod": _one("FedRoD", "fedrod"),
    "fedtgp": _one("FedTGP", "fedtgp", "max_margin", (1.0, 10.0, 100.0)),
}
"""Methods by strategy, in the order of tables: FedD2S and its controls, the bars to clear, others."""

_LEFT_OUT = ("fedbn", "flower_")
"""FedBN is FedAvg where models have no BatchNorm; Flower's strategies are other servers for FedAvg's clients."""


def methods(lrs: Values, *, middle: bool = False) -> tuple[Arm, ...]:
    """Return every method in configs/strategy, tuned alike: those that are not known here come last.

    Args:
        lrs: Learning rates that each tries.
        middle: Of the main hyper-parameters only the value in the middle is tried.
    """
    new = (name for name in sorted(group_choices("strategy")) if name not in KNOWN and not name.startswith(_LEFT_OUT))
    found = (*KNOWN.values(), *(_one(name, name) for name in new))
    return tuple(arm for method in found for arm in method.tuned(lrs, middle=middle))


def newcomer(lrs: Values, *, middle: bool = False) -> Callable[[str], Arm]:
    """Return what makes the arm of an algorithm from outside (`--config-dir`), tuned as `methods` are.

    Args:
        lrs: Learning rates that it tries.
        middle: As for `methods`; an algorithm that is not known here has no main hyper-parameter.
    """
    return lambda strategy: _one(strategy, strategy).tuned(lrs, middle=middle)[0]


def dirichlet(*alphas: float, also: Overrides = ()) -> tuple[Condition, ...]:
    """Return a condition for each Dirichlet concentration.

    Args:
        *alphas: Concentrations.
        also: Further overrides of each.
    """
    return tuple(
        Condition(f"Dirichlet {alpha:g}", merge(("partition=dirichlet", f"partition.alpha={alpha:g}"), also), alpha)
        for alpha in alphas
    )


FEW_SAMPLES: Overrides = ("partition=inner_dirichlet", "partition.samples_per_client=180")
"""Laptop: equally many samples for every client, of a mixture of classes of its own."""


def few_samples(*alphas: float, also: Overrides = ()) -> tuple[Condition, ...]:
    """Return a condition for each Dirichlet concentration in which every client has 180 samples of its own classes.

    Args:
        *alphas: Concentrations.
        also: Further overrides of each.
    """
    return dirichlet(*alphas, also=merge(FEW_SAMPLES, also))


def cifar10_laptop(*alphas: float) -> tuple[Condition, ...]:
    """Return a condition for each Dirichlet concentration in which every client has 750 images of its own classes."""
    return dirichlet(*alphas, also=("partition=inner_dirichlet", "partition.samples_per_client=750"))


WRITERS = (Condition("natural writers", ("partition=natural",)),)
"""The one condition on glyphs: a client is a writer."""


def cifar(*alphas: float) -> tuple[Condition, ...]:
    """Return a condition for each of CIFAR's two datasets and each Dirichlet concentration."""
    return tuple(
        Condition(f"{name}, {condition.name}", merge(overrides, condition.overrides), condition.x)
        for name, overrides in (("CIFAR-10", CIFAR10), ("CIFAR-100", CIFAR100))
        for condition in dirichlet(*alphas)
    )


HALF_AND_TENTH = (0.5, 0.1)
"""The concentrations that most studies look at: a mixture of classes for every client, and few classes."""


def smoke(arms: tuple[Arm, ...], conditions: tuple[Condition, ...] = dirichlet(0.5)) -> Scale:
    """Return a study's runs on digits, on two seeds."""
    return Scale(DIGITS, arms, conditions, (0, 1))


def laptop(
    arms: tuple[Arm, ...], conditions: tuple[Condition, ...] = few_samples(*HALF_AND_TENTH), also: Overrides = ()
) -> Scale:
    """Return a study's runs on Fashion-MNIST, on three seeds; `also` is what differs from other studies."""
    return Scale(merge(FASHION_MNIST, also), arms, conditions, THREE_SEEDS)


def cifar10(
    arms: tuple[Arm, ...], conditions: tuple[Condition, ...] = cifar10_laptop(*HALF_AND_TENTH), also: Overrides = ()
) -> Scale:
    """Return a study's runs on 15,000 images of CIFAR-10, on three seeds; `also` is what differs from other studies."""
    return Scale(merge(CIFAR10_LAPTOP, also), arms, conditions, THREE_SEEDS)


def glyphs(arms: tuple[Arm, ...], conditions: tuple[Condition, ...] = WRITERS, also: Overrides = ()) -> Scale:
    """Return a study's runs on writers of glyphs, on three seeds; `also` is what differs from other studies."""
    return Scale(merge(GLYPHS, also), arms, conditions, THREE_SEEDS)


def paper(arms: tuple[Arm, ...], conditions: tuple[Condition, ...] = dirichlet(*HALF_AND_TENTH)) -> Scale:
    """Return a study's runs on CIFAR-10, on five seeds."""
    return Scale(merge(CIFAR, CIFAR10), arms, conditions, FIVE_SEEDS)
