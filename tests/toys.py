"""Models, data and algorithms small enough to work out by hand, reached by `plugins=[toys]`."""

import dataclasses
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fedpers.algorithm import Algorithm, Task, Update
from fedpers.config.keys import Config
from fedpers.data.shards import ClientData
from fedpers.models.staged import Staged
from fedpers.training import Split


def make_task(
    model: Staged, client: Algorithm, inputs: list[list[float]], labels: list[int], **changes: object
) -> Task:
    """Build a task on given samples: one full batch, SGD 1.0, so that an epoch is one step of plain gradient."""
    split = Split(torch.tensor(inputs), torch.tensor(labels))
    none, one = torch.zeros(0), torch.ones(1)
    data = ClientData(none, none, (0, 0, 0), one, one, 2)
    for name in ("train", "val", "test"):
        data.__dict__[name] = split
    values = {"lr": 1.0, "batch_size": 100, "local_epochs": 1, "rounds": 4}
    config = Config(
        **(values | {k: v for k, v in changes.items() if k in {f.name for f in dataclasses.fields(Config)}})
    )
    return Task(
        config=config,
        round=int(str(changes.get("round", 1))),
        client=0,
        data=data,
        initial={key: value.clone() for key, value in model.state_dict().items()},
        model=model,
        received=changes.get("received", {}),  # type: ignore[arg-type]
        state=changes.get("state", {}),  # type: ignore[arg-type]
        personal_keys=client.personal_keys(model),
    )


class Scale(nn.Module):
    """Multiply by one weight."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def three_parameters(scale: float = 1.0, weights: tuple[float, float] = (0.0, 0.0)) -> Staged:
    """A scalar input, scaled (stage `base`), then two logits (stage `head`, no bias)."""
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(weights)[:, None])
    return Staged({"base": Scale(scale), "head": head})


@dataclass(frozen=True)
class Failing(Algorithm):
    """FedAvg in which one client fails in one round.

    Args:
        client: The client.
        round: The round.
        forever: Fail in every round from then on.
    """

    client: int
    round: int
    forever: bool = False

    def train(self, task: Task) -> Update:
        """Fail, or train."""
        late = task.round >= self.round if self.forever else task.round == self.round
        if late and self.client in (task.client, -1):
            raise RuntimeError("the battery is empty")
        update = super().train(task)
        count = task.state.get("count", torch.zeros(1)) + 1
        return dataclasses.replace(update, keep={"count": count}, metrics={"count": float(count)})


class Doubled(nn.Module):
    """A head that answers twice as loud, and tells nobody how it is made."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * self.head(hidden)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Unkept(Algorithm):
    """FedAvg that deploys a model which no file can hold."""

    def personalize(self, task: Task) -> Staged:
        return task.model.with_head(Doubled(task.model[-1]))


@dataclass(frozen=True)
class Hanging(Algorithm):
    """FedAvg in which one client hangs in one round, for longer than any test waits.

    Args:
        client: The client.
        round: The round.
    """

    client: int
    round: int

    def train(self, task: Task) -> Update:
        """Hang, or train."""
        if (task.client, task.round) == (self.client, self.round):
            time.sleep(300)
        return super().train(task)


@dataclass(frozen=True)
class Deadly(Algorithm):
    """FedAvg in which a client kills the process that trains it, in round 2.

    Args:
        client: The client.
        folder: Where each death leaves a file.
    """

    client: int
    folder: str

    def train(self, task: Task) -> Update:
        if (task.client, task.round) == (self.client, 2):
            Path(self.folder, f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(task)


@dataclass(frozen=True)
class Slow(Algorithm):
    """FedAvg that takes its time.

    Args:
        seconds: How long each training takes in addition.
        fails: The seed of a run whose clients fail; None: none do.
    """

    seconds: float
    fails: int | None = None

    def train(self, task: Task) -> Update:
        time.sleep(self.seconds)
        if task.config.seed == self.fails:
            raise RuntimeError("the battery is empty")
        return super().train(task)
