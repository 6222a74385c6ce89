"""FedTGP: the server trains the prototypes, so that classes stay apart for models of every kind.

Zhang, Liu, Hua and Cao, "FedTGP: Trainable Global Prototypes with Adaptive-Margin-Enhanced Contrastive Learning for
Data and Model Heterogeneity in Federated Learning", AAAI 2024, https://arxiv.org/abs/2401.03230, Algorithm 1.

    Client k   L_k = CE(f_k(x), y) + λ ‖h_k(x) − C_y‖² / d            on classes y that have a global prototype
               sends P_ky = mean of h_k(x) over its training samples of class y, and n_ky, their number
    Server     C_y = F(v_y), F a network of two layers, v_y a trained vector a class
               L = mean over the P_ky of −log e^−(‖P_ky − C_y‖ + δ) / (e^−(‖P_ky − C_y‖ + δ) + Σ_z≠y e^−‖P_ky − C_z‖)
               δ = min(largest ‖Q_y − Q_z‖, τ), Q_y = mean of P_ky over the clients k that hold class y
    Inference  argmin_y ‖h_k(x) − C_y‖²

h_k is what enters the head, d values. The personal model is h_k with the nearest prototype (`inference=prototype`, as
the authors have it) or with the client's own head (`classifier`). A client that has never been sampled uses its initial
h and the prototypes. With λ = 0 and the classifier this is Local, to the last bit.

Deviations: of a client that is not sampled, the last P_ky stand, where the paper trains on those of the round. Classes
that no client holds are left out. The server's optimizer starts anew every round; vectors and network go on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers import seeds
from fedpers.algorithm import Aggregated, Federation, Sent, Server, State
from fedpers.training import Batch, Split, fit, sgd
from strategies.fedproto import FedProto
from strategies.parts.class_means import ClassMeansServer, MeansState, class_averages
from strategies.parts.heads import copied_weights
from strategies.parts.prototypes import CLASS, COUNT, GLOBAL, MEAN


@dataclass(frozen=True)
class FedTGP(FedProto):
    """FedProto's clients, whose prototypes the server trains.

    Args:
        lambda_proto: Weight λ of the distance from the prototypes.
        inference: prototype or classifier.
        max_margin: Largest margin τ.
        server_hidden: Width of the server's hidden layer.
        server_epochs: Passes over the clients' prototypes a round.
        server_lr: Learning rate of the server's SGD.
        server_batch_size: Clients' prototypes in a batch of the server.
    """

    max_margin: float
    server_hidden: int
    server_epochs: int
    server_lr: float
    server_batch_size: int

    def __post_init__(self) -> None:
        """Check the ranges and the choice."""
        super().__post_init__()
        self.require("max_margin", self.max_margin >= 0, "at least 0")
        self.require("server_epochs", self.server_epochs >= 0, "at least 0")
        self.require("server_lr", self.server_lr > 0, "above 0")
        for key in ("server_hidden", "server_batch_size"):
            self.require(key, getattr(self, key) >= 1, "at least 1")

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return TrainingServer(federation, MEAN, COUNT, self)


def contrast(means: Tensor, labels: Tensor, prototypes: Tensor, margin: float | Tensor) -> Tensor:
    """Return L for clients' prototypes (n, d) of classes `labels` (n,), the server's (classes, d), and the margin δ."""
    distance = torch.cdist(means, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    return F.cross_entropy(-(distance + margin * F.one_hot(labels, len(prototypes))), labels)


def widest_gap(means: Tensor, labels: Tensor) -> Tensor:
    """Return the largest distance between two classes' centers, each the mean of its rows of `means` (n, d).

    A single class is at distance 0 from itself.
    """
    centers, _ = class_averages(means, labels, 0)
    return torch.cdist(centers, centers, compute_mode="donot_use_mm_for_euclid_dist").max()


@dataclass(frozen=True)
class TrainingState(MeansState):
    """What the server remembers.

    Args:
        shared: A prototype for each class that some client holds.
        means: Every client's last means.
        network: Weights of F and the vectors v; empty before their width is known.
    """

    network: State


@dataclass(frozen=True)
class TrainingServer(ClassMeansServer[TrainingState]):
    """Trains a prototype for each class that some client holds.

    Args:
        algorithm: The hyper-parameters.
    """

    algorithm: FedTGP

    def init(self) -> TrainingState:
        """Start without prototypes: their width is that of what clients send."""
        return TrainingState({}, {}, {})

    def aggregate(self, state: TrainingState, round: int, sent: Mapping[int, Sent]) -> Aggregated[TrainingState]:
        """Train on all known means and return a prototype for each class that some client holds."""
        known = self.put_down(state, round, sent)
        means = torch.cat([each.mean for each in known.values()])
        classes = torch.cat([each.count.nonzero().flatten() for each in known.values()])
        if not len(classes):  # nothing stands out of the noise of privacy
            return Aggregated(TrainingState(state.shared, known, state.network))
        held, labels = classes.unique(return_inverse=True)
        a = self.algorithm
        network = self.network(means.shape[1], state.network)
        margin = widest_gap(means, labels).clamp_max(a.max_margin)

        def server_loss(model: nn.Module, batch: Batch) -> Tensor:
            return contrast(batch.inputs, batch.labels, model(held), margin)

        loss = fit(
            network,
            Split(means, labels),
            epochs=a.server_epochs,
            batch_size=a.server_batch_size,
            optimizer=sgd(network.parameters(), a.server_lr),
            generator=seeds.torch_generator(self.federation.config.seed, "server", round=round),
            objective=server_loss,
        )
        shared = {GLOBAL: network(held).detach(), CLASS: held}
        diagnostics = {"prototype_loss": loss, "margin": float(margin)}
        return Aggregated(TrainingState(shared, known, copied_weights(network)), diagnostics)

    def network(self, width: int, weights: State) -> nn.Sequential:
        """Return F behind the vectors v, with the given weights or, without any, as initialized."""
        with seeds.seeded_initialization(self.federation.config.seed, "prototypes"):
            network = nn.Sequential(
                nn.Embedding(self.federation.num_classes, width),
                nn.Linear(width, self.algorithm.server_hidden),
                nn.ReLU(),
                nn.Linear(self.algorithm.server_hidden, width),
            )
        if weights:
            network.load_state_dict(weights)
        return network
