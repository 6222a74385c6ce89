"""The server half of FedD2S: heads that learn from the clients' knowledge and label it; see `strategies.fedd2s`."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers import seeds
from fedpers.client import State
from fedpers.errors import UserError
from fedpers.federation import Federation
from fedpers.training import Batch, Split, fit
from strategies.base import StateServer
from strategies.fedd2s.dropping import AdaptiveDropping
from strategies.parts.exchange import distill

if TYPE_CHECKING:
    from strategies.fedd2s import FedD2S

HEAD = "heads/"
CUT = "control/cut"
ORIGIN = "control/soft_labels_cut_and_round"
SOFT_LABELS = "soft_labels/q"
SENT = ("representations/h", "soft_labels/p", "labels/y", "labels/count")


def make_head(width: int, hidden: int, num_classes: int, *, norm: bool = False) -> nn.Sequential:
    """Build g_c on a flat representation: perhaps a LayerNorm, a hidden layer unless its width is 0, logits."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if norm:
        layers["norm"] = nn.LayerNorm(width)
    if hidden:
        layers["hidden"] = nn.Linear(width, hidden)
        layers["relu"] = nn.ReLU()
    layers["logits"] = nn.Linear(hidden or width, num_classes)
    return nn.Sequential(layers)


def frozen_head(received: State, prefix: str = HEAD) -> nn.Module | None:
    """Rebuild what `make_head` built, if the server sent it under a prefix; its weights are constants to the client."""
    state = {key.removeprefix(prefix): tensor.float() for key, tensor in received.items() if key.startswith(prefix)}
    if not state:
        return None
    first = state.get("hidden.weight", state["logits.weight"])
    hidden = len(first) if "hidden.weight" in state else 0
    with torch.device("meta"):
        head = make_head(first.shape[1], hidden, len(state["logits.bias"]), norm="norm.weight" in state)
    head.load_state_dict(state, assign=True)
    return head.requires_grad_(False)


@dataclass(frozen=True)
class SoftLabels:
    """What a head said of a client's knowledge.

    Args:
        q: (rows, classes) distributions, in the order in which the client sent its knowledge.
        cut: The head's cut.
        round: The round in which it was said.
    """

    q: Tensor
    cut: int
    round: int


class HeadServer(StateServer):
    """Trains the head of the active cut on the clients' knowledge and distils it back.

    Args:
        algorithm: The hyper-parameters.
        federation: What the server knows before the first round.
    """

    def __init__(self, algorithm: "FedD2S", federation: Federation) -> None:
        """Start without any head: none is sent before it has been trained."""
        super().__init__(federation)
        self.algorithm = algorithm
        self.num_stages = len(federation.model())
        cuts = algorithm.cuts(self.num_stages)
        self.adaptive = AdaptiveDropping(cuts, algorithm.patience, algorithm.min_delta)
        self.heads: dict[tuple[int, int], nn.Sequential] = {}
        self.soft_labels: dict[int, SoftLabels] = {}
        self._ages: list[int] = []

    def cut(self, round: int) -> int:
        """Return the active cut."""
        if self.algorithm.dropping == "adaptive":
            return self.adaptive.cut
        return self.algorithm.active_cut(round, self.federation.config.rounds, self.num_stages)

    def evaluated(self, round: int, val_accuracy: float) -> None:
        """Let adaptive dropping see the mean validation accuracy over clients."""
        self.adaptive.observe(round, val_accuracy)

    def owner(self, client: int) -> int:
        """Return whose head serves a client: its own, or the one of all."""
        return client if self.algorithm.heads == "own" else seeds.SERVER

    def send_to(self, client: int, round: int) -> State:
        """Return the active cut, its head once that is trained, and what a head last said of the client's knowledge."""
        a, cut = self.algorithm, self.cut(round)
        state: State = {CUT: torch.tensor(cut)}
        dtype = torch.float16 if a.wire == "float16" else torch.float32
        head = self.heads.get((cut, self.owner(client)))
        if head is not None and a.feedback != "soft_labels" and (a.lambda_ce or (a.lambda_kl and a.kl_on == "head")):
            state |= {HEAD + key: tensor.to(dtype) for key, tensor in head.state_dict().items()}
        said = self.soft_labels.get(client)
        if said is not None and a.feedback != "head" and a.lambda_kl:
            age = round - said.round
            if a.soft_label_max_age is None or age <= a.soft_label_max_age:
                state |= {SOFT_LABELS: said.q.to(dtype), ORIGIN: torch.tensor([said.cut, said.round])}
                self._ages.append(age)
        return state

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Train the active head on what was sent, then let it label every row of it."""
        cut = self.cut(round)
        knowledge = {
            client: tuple(state[key].float() if state[key].is_floating_point() else state[key] for key in SENT)
            for client, state in sent.items()
        }
        losses = [
            self.train_head(
                cut, owner, round, [rows for client, rows in knowledge.items() if self.owner(client) == owner]
            )
            for owner in sorted({self.owner(client) for client in knowledge})
        ]
        accuracy = self.label(cut, round, knowledge)
        ages, self._ages = self._ages, []
        self.diagnostics = {
            "active_cut": float(cut),
            "head_loss": sum(losses) / len(losses),
            "head_accuracy": accuracy,
            **({"soft_label_age": sum(ages) / len(ages)} if ages else {}),
        }
        return {}

    @torch.no_grad()
    def label(self, cut: int, round: int, sent: dict[int, tuple[Tensor, ...]]) -> float:
        """Remember q for every client's knowledge and return the heads' accuracy on it."""
        correct, total = 0.0, 0.0
        for client, (h, _, labels, counts) in sent.items():
            logits = self.heads[cut, self.owner(client)].eval()(h)
            self.soft_labels[client] = SoftLabels((logits / self.algorithm.temperature).softmax(1), cut, round)
            correct += float(((logits.argmax(1) == labels) * counts).sum())
            total += float(counts.sum())
        return correct / total

    def train_head(self, cut: int, owner: int, round: int, knowledge: list[tuple[Tensor, ...]]) -> float:
        """Minimize L_g, each row weighted by the samples behind it, and return the last epoch's mean loss."""
        a, config = self.algorithm, self.federation.config
        widths = sorted({part[0].shape[1] for part in knowledge})
        if len(widths) > 1:
            raise UserError(
                f"the clients' models disagree at cut {cut}: representations of {widths} values. "
                "Accepted: models alike in shape at every cut, or strategy.projection=SIZE"
            )
        h, p, labels, counts = (torch.cat(parts) for parts in zip(*knowledge, strict=True))
        weights = counts / counts.float().mean()
        if (cut, owner) not in self.heads:
            hidden = a.hidden_width(cut, self.num_stages)
            with seeds.seeded_initialization(config.seed, f"head {cut}"):
                self.heads[cut, owner] = make_head(h.shape[1], hidden, self.federation.num_classes, norm=a.head_norm)

        def server_loss(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.inputs)
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
            if a.mu:
                losses = losses + a.mu * distill(logits, p[batch.index], a.temperature)
            return (weights[batch.index] * losses).mean()

        head = self.heads[cut, owner]
        return fit(
            head,
            Split(h, labels),
            epochs=a.server_epochs,
            batch_size=a.server_batch_size,
            optimizer=torch.optim.Adam(head.parameters(), lr=a.server_lr),
            generator=seeds.torch_generator(config.seed, "server", round=round, client=owner),
            objective=server_loss,
        )
