"""What studies have in common: the size of their runs at each scale, and the methods they compare."""

from collections.abc import Mapping

from experiments.study import Arm, Condition, Overrides, merge
from fedpers.compose import group_choices

DIGITS: Overrides = (
    "dataset=digits",
    "partition.num_clients=4",
    "partition.max_samples=200",
    "splits=[0.45,0.2,0.35]",
    "model=mlp",
    "model.hidden=[64,64,64,64]",
    "rounds=6",
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

CIFAR: Overrides = ("rounds=100", "eval_every=5", "finetune_epochs=0")
"""Paper: what holds for both datasets."""

CIFAR10: Overrides = ("experiment=fedd2s_cifar10", "model.channels=[32,64]", "model.hidden=[512,128]")
"""All of CIFAR-10: 20 clients, five stages, cuts 1 to 4."""

CIFAR100: Overrides = ("experiment=fedd2s_cifar100",)
"""All of CIFAR-100: 20 clients, ResNet-18, cuts 1 to 5."""

THREE_SEEDS = (0, 1, 2)
FIVE_SEEDS = (0, 1, 2, 3, 4)
TUNING_SEEDS = (100, 101)

FEDD2S = Arm("FedD2S", ("strategy=fedd2s",))
OWN_HEADS = Arm("FedD2S, own heads", ("strategy=fedd2s", "strategy.heads=own"))
LOCAL = Arm("Local", ("strategy=local",))
FEDAVG = Arm("FedAvg", ("strategy=fedavg", "finetune_epochs=2"))
FEDAVG_FT = Arm("FedAvg + FT", ("strategy=fedavg", "finetune_epochs=2"), column="finetuned")

_NAMES = {
    "fedprox": "FedProx",
    "fedper": "FedPer",
    "fedrep": "FedRep",
    "fedbabu": "FedBABU",
    "lg_fedavg": "LG-FedAvg",
    "ditto": "Ditto",
    "apfl": "APFL",
    "pfedsd": "pFedSD",
    "fd": "FD",
    "fedproto": "FedProto",
    "fedmd": "FedMD",
    "fedgkt": "FedGKT",
    "scaffold": "SCAFFOLD",
    "moon": "MOON",
    "feddyn": "FedDyn",
    "per_fedavg": "Per-FedAvg",
    "pfedme": "pFedMe",
}
_LEFT_OUT = ("fedbn", "flower_")
"""FedBN is FedAvg where models have no BatchNorm; Flower's strategies are other servers for FedAvg's clients."""

_NEEDS: dict[str, Overrides] = {"scaffold": ("momentum=0",), "fedmd": ("public_samples=100",)}
"""What a method cannot do without."""
_FIRST = {"fedd2s": (FEDD2S, OWN_HEADS), "local": (LOCAL,), "fedavg": (FEDAVG, FEDAVG_FT)}
_MAIN = {
    "fedd2s": "lambda_kl",
    "fedprox": "mu",
    "fd": "lambda_kd",
    "fedrep": "head_epochs",
    "fedbabu": "tuning_epochs",
    "ditto": "lambda_prox",
    "apfl": "alpha",
    "pfedsd": "lambda_kd",
    "fedproto": "lambda_proto",
    "fedmd": "digest_epochs",
    "fedgkt": "lambda_kl",
    "moon": "mu",
    "feddyn": "alpha",
    "per_fedavg": "adaptation_lr",
    "pfedme": "lambda_prox",
}
"""The one hyper-parameter, besides the learning rate, that a method is best known for."""


def methods() -> tuple[Arm, ...]:
    """Return every method in configs/strategy: FedD2S and the control first, then the bars to clear, then others."""
    found = group_choices("strategy")
    known = [arm for name, arms in _FIRST.items() if name in found for arm in arms]
    ranks = {name: rank for rank, name in enumerate(_NAMES)}
    others = {name for name in found if name not in _FIRST and not name.startswith(_LEFT_OUT)}
    ordered = sorted(others, key=lambda name: (ranks.get(name, len(ranks)), name))
    made = (Arm(_NAMES.get(name, name), (f"strategy={name}", *_NEEDS.get(name, ()))) for name in ordered)
    return (*known, *made)


Weights = Mapping[str, tuple[float, ...]]
"""Values of the main hyper-parameter to try, by strategy."""


def tuned(arms: tuple[Arm, ...], lrs: tuple[float, ...], weights: Weights) -> tuple[Arm, ...]:
    """Give every arm the same learning rates to try and, where it has a main hyper-parameter, values of that.

    Args:
        arms: The arms.
        lrs: Learning rates.
        weights: Values of the main hyper-parameter: equally many for each strategy.
    """
    assert len({len(values) for values in weights.values()}) == 1, "every method gets equally many values"
    return tuple(Arm(arm.name, arm.overrides, arm.column, (("lr", lrs), *_main(arm, weights))) for arm in arms)


def _main(arm: Arm, weights: Weights) -> tuple[tuple[str, tuple[float, ...]], ...]:
    strategy = next(text.partition("=")[2] for text in arm.overrides if text.startswith("strategy="))
    return ((f"strategy.{_MAIN[strategy]}", weights[strategy]),) if strategy in _MAIN else ()


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


def cifar(*alphas: float) -> tuple[Condition, ...]:
    """Return a condition for each of CIFAR's two datasets and each Dirichlet concentration."""
    return tuple(
        Condition(f"{name}, {condition.name}", merge(overrides, condition.overrides), condition.x)
        for name, overrides in (("CIFAR-10", CIFAR10), ("CIFAR-100", CIFAR100))
        for condition in dirichlet(*alphas)
    )
