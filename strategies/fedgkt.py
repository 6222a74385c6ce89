"""FedGKT: small models on the clients and a larger one on the server teach each other.

He, Annavaram and Avestimehr, "Group Knowledge Transfer: Federated Learning of Large CNNs at the Edge", NeurIPS 2020,
https://arxiv.org/abs/2007.14513, Algorithm 1, Eqs. 5 and 6.

    Client k   L_k = CE(f_k(x), y) + λ T² KL(softmax(s(x)/T) ‖ softmax(f_k(x)/T))
               sends h = extractor_k(x), its logits' distribution and y, for every training sample
    Server     L_s = CE(g(h), y) + μ T² KL(softmax(f_k(x)/T) ‖ softmax(g(h)/T)),    s(x) = g(h), sent back to its client

The extractor is the first `cut` stages of the client's model f_k, g the server's model on what leaves it. The personal
model is f_k. With λ = 0 this is Local, to the last bit. A client that has never been sampled uses the initial model.
This is FedD2S with a single cut, never dropped, whose server sends soft labels and keeps its head.

Deviations: g is a network with one hidden layer of `server_hidden` units on pooled feature maps, where the paper's is
the rest of a ResNet; the deployed model is the client's own, where the paper's is extractor and g together. What is on
the wire are distributions, softened by T, not logits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedpers import seeds
from fedpers.algorithm import Aggregated, Algorithm, Federation, Purpose, Sent, Server, ServerState, State, Task, Update
from fedpers.config.keys import Config
from fedpers.device import server_device
from fedpers.models.staged import Staged
from strategies.parts.exchange import (
    ROWS,
    SOFT_LABELS,
    HeadTraining,
    Knowledge,
    Teacher,
    View,
    fault_in_knowledge,
    head_to_train,
    pooled,
)
from strategies.parts.heads import copied_weights
from strategies.parts.personal_layers import all_keys


@dataclass(frozen=True)
class FedGKT(Algorithm):
    """Both halves of FedGKT.

    Args:
        cut: Stages of the extractor.
        lambda_kl: Weight λ of the server's soft labels in the client's loss.
        mu: Weight μ of the clients' soft labels in the server's loss.
        temperature: T, in both directions.
        pool: Feature maps are averaged to at most pool x pool before they are sent.
        server_hidden: Width of the server's hidden layer.
        server_epochs: Passes over the clients' knowledge a round.
        server_lr: Learning rate of the server's Adam.
        server_batch_size: Samples in a batch of the server.
    """

    sends = ("representations", "soft_labels", "labels")
    receives = ("soft_labels",)
    varies = ROWS

    cut: int
    lambda_kl: float
    mu: float
    temperature: float
    pool: int
    server_hidden: int
    server_epochs: int
    server_lr: float
    server_batch_size: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        for key in ("temperature", "pool", "server_epochs", "server_lr", "server_batch_size"):
            self.require(key, getattr(self, key) > 0, "a number above 0")
        for key in ("lambda_kl", "mu", "server_hidden"):
            self.require(key, getattr(self, key) >= 0, "at least 0")

    def check(self, model: Staged, config: Config) -> None:
        """Check the cut."""
        model.check_cuts((self.cut,), "strategy.cut")

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep all weights."""
        return all_keys(model)

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Return what makes a client's knowledge impossible; empty: nothing."""
        return fault_in_knowledge(sent, federation.num_classes)

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return LargeModelServer(federation, self)

    def server_training(self, config: Config) -> HeadTraining:
        """Return how the server trains its model, and where."""
        batch, device = self.server_batch_size, server_device(config.device)
        return HeadTraining(self.mu, self.temperature, self.server_epochs, self.server_lr, batch, device)

    def train(self, task: Task) -> Update:
        """Learn from the labels and the server, then send what the extractor sees."""
        view = View(self.pool, None, self.temperature, task.config.seed)
        teacher = Teacher(view, self.cut, None, task.received.get(SOFT_LABELS), 0.0, self.lambda_kl)
        loss = task.fit(teacher.client_loss)
        h, p = view.observe(task.model, task.data.train, self.cut)
        labels = task.data.train.labels
        knowledge = Knowledge(h, p, labels, torch.ones_like(labels))
        metrics = {"loss": loss, "agreement": teacher.agreement(p)}
        return Update(send=knowledge.wire(), keep=task.personal(), metrics=metrics)


@dataclass(frozen=True)
class LargeModelState(ServerState):
    """What the server remembers.

    Args:
        shared: Nothing.
        model: Weights of g; empty before it is trained.
        soft_labels: softmax(s(x)/T) of each client's samples, (n, classes), by client.
    """

    model: State
    soft_labels: dict[int, Tensor]


@dataclass(frozen=True)
class LargeModelServer(Server[LargeModelState]):
    """Trains g on what extractors see and answers with what it says of it.

    Args:
        algorithm: The hyper-parameters.
    """

    algorithm: FedGKT

    def init(self) -> LargeModelState:
        """Start without a model: its width is that of what clients send."""
        return LargeModelState({}, {}, {})

    def send_to(self, state: LargeModelState, client: int, round: int, purpose: Purpose) -> State:
        """Return what g last said of the client's samples."""
        known = purpose == "train" and self.algorithm.lambda_kl and client in state.soft_labels
        return {SOFT_LABELS: state.soft_labels[client]} if known else {}

    def aggregate(self, state: LargeModelState, round: int, sent: Mapping[int, Sent]) -> Aggregated[LargeModelState]:
        """Train g on what was sent, then let it label every sample of it."""
        a, seed = self.algorithm, self.federation.config.seed
        knowledge = {client: Knowledge.received(each.tensors) for client, each in sent.items()}
        rows = pooled(list(knowledge.values()), a.cut)
        model = head_to_train(
            state.model,
            cut=a.cut,
            width=rows.h.shape[1],
            hidden=a.server_hidden,
            num_classes=self.federation.num_classes,
            norm=True,
            seed=seed,
        )
        training = a.server_training(self.federation.config)
        loss = training.fit(model, rows, seeds.torch_generator(seed, "server", round=round))
        said = {client: training.label(model, part) for client, part in knowledge.items()}
        soft_labels = state.soft_labels | {client: q for client, (q, _) in said.items()}
        accuracy = sum(correct for _, correct in said.values()) / len(rows.labels)
        diagnostics = {"head_loss": loss, "head_accuracy": accuracy}
        return Aggregated(LargeModelState({}, copied_weights(model), soft_labels), diagnostics)
