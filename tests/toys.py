"""Models, data and algorithms small enough to work out by hand, reached by `plugins=[toys]`."""

import dataclasses
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fedpers.algorithm import Algorithm, State, Task, Update
from fedpers.config.keys import Config
from fedpers.data.shards import ClientData
from fedpers.models.staged import Staged
from fedpers.training import Split
from strategies.fedd2s import FedD2S
from strategies.fedper import FedPer


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


def breakage(how: str, send: State) -> State:
    """Return an update that is broken in one way; its first tensor of floats is what is broken."""
    name = next(key for key, tensor in send.items() if tensor.is_floating_point())
    value = send[name].clone()
    if how in ("no number", "infinity"):
        value.view(-1)[0] = float("nan" if how == "no number" else "inf")
        return {**send, name: value}
    if how == "missing":
        return {key: tensor for key, tensor in send.items() if key != name}
    if how == "flat":
        return {**send, name: value.flatten()[:1]}
    if how == "int8":
        return {**send, name: value.to(torch.int8)}
    if how == "huge":
        return {**send, name: value * 1e6}
    kind = {"extra": "no.such", "undeclared": "secrets/" + name}[how]
    return {**send, kind: value}


@dataclass(frozen=True)
class BrokenFedPer(FedPer):
    """FedPer in which one client sends something broken in one round, or ends the process.

    Args:
        client: The client; -1 for all.
        round: The round.
        how: See `breakage`; "exit" calls `sys.exit`, "raise" raises.
    """

    client: int = 2
    round: int = 2
    how: str = "no number"

    def train(self, task: Task) -> Update:
        """Train, and break what is sent."""
        update = super().train(task)
        if task.round != self.round or self.client not in (task.client, -1):
            return update
        if self.how == "exit":
            sys.exit("enough")
        if self.how == "raise":
            raise RuntimeError("the battery is empty")
        return dataclasses.replace(update, send=breakage(self.how, update.send))


@dataclass(frozen=True)
class BrokenFedD2S(FedD2S):
    """The same for FedD2S.

    Args:
        client: The client.
        round: The round.
        how: As above, or "rows", "classes", "label".
    """

    client: int = 2
    round: int = 2
    how: str = "no number"

    def train(self, task: Task) -> Update:
        """Train, and break what is sent."""
        update = super().train(task)
        if (task.round, task.client) != (self.round, self.client):
            return update
        if self.how == "raise":
            raise RuntimeError("the battery is empty")
        send = dict(update.send)
        if self.how == "rows":
            send["labels/y"] = send["labels/y"][1:]
        elif self.how == "classes":
            send["soft_labels/p"] = send["soft_labels/p"][:, 1:]
        elif self.how == "label":
            send["labels/y"] = send["labels/y"] + 100
        elif self.how == "negative":
            send["labels/count"] = -send["labels/count"]
        else:
            send = breakage(self.how, send)
        return dataclasses.replace(update, send=send)


@dataclass(frozen=True)
class Halves(Algorithm):
    """FedAvg of which every other client sends something more."""

    sends = ("weights", "extra")

    def train(self, task: Task) -> Update:
        """Train, and send more or not."""
        update = super().train(task)
        return dataclasses.replace(update, send=update.send | ({"extra/x": torch.ones(1)} if task.client % 2 else {}))


@dataclass(frozen=True)
class Unscored(Algorithm):
    """FedAvg in which two clients cannot be scored."""

    def personalize(self, task: Task) -> Staged:
        """Fail, or give the model."""
        if task.client in (1, 2):
            raise RuntimeError("the screen is broken")
        return task.model
