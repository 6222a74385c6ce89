"""FedAMP: every client is held near a mixture of the models that resemble its own.

Huang, Chu, Zhou, Wang, Liu, Pei and Zhang, "Personalized Cross-Silo Federated Learning on Non-IID Data", AAAI 2021,
https://arxiv.org/abs/2007.03797, Eqs. 4 to 6 and, for deep networks, HeurFedAMP.

    Server         u_k = Σ_j ξ_kj w_j over the clients whose model it has, with
                   ξ_kj = α exp(−‖w_k − w_j‖² / σ) / σ,  ξ_kk = 1 − Σ_{j≠k} ξ_kj              (attention=distance)
                   ξ_kj = (1 − ξ_kk) softmax_j(σ cos(w_k, w_j)),  ξ_kk given                   (attention=cosine)
    ClientUpdate:  w_k ← E epochs of SGD on CE(f(x; w)) + λ/2 ‖w − u_k‖² from w_k; sends w_k

The personal model is w_k, which starts from the initial weights. A client that has never been sampled uses these. With
λ = 0 this is Local, to the last bit.

Deviations: clients start from their own model; the paper minimizes and names no start. λ stands for the paper's λ/α_k.
With attention=distance the ξ_kj of a client are scaled down where they would leave less than nothing of its own model.
Of a client that is not sampled the last model stands. Similarity and norm are over parameters; statistics of BatchNorm
layers stay at home, under `batch_norm=local` their weights, too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedpers.algorithm import (
    Aggregated,
    Algorithm,
    Federation,
    Purpose,
    Sent,
    Server,
    ServerState,
    State,
    Task,
    Update,
)
from fedpers.config.keys import Config
from fedpers.errors import unknown_name
from fedpers.models.batch_norm import local_keys
from fedpers.models.staged import Staged
from fedpers.training import Batch, cross_entropy
from strategies.parts.personal_layers import all_keys
from strategies.parts.proximal import half_squared_distance
from strategies.parts.snapshots import snapshot

MODEL, CLOUD = "weights/model/", "weights/cloud/"


@dataclass(frozen=True)
class FedAMP(Algorithm):
    """Attentive message passing.

    Args:
        lambda_prox: Weight λ of the distance from u_k.
        attention: cosine or distance.
        sigma: σ, how strongly attention prefers the similar (cosine) or how far it reaches (distance).
        self_weight: ξ_kk, for cosine.
        alpha: α, for distance.
    """

    reveals = ("weights",)

    lambda_prox: float
    attention: str
    sigma: float
    self_weight: float
    alpha: float

    def __post_init__(self) -> None:
        """Check the ranges and the choice."""
        self.require("lambda_prox", self.lambda_prox >= 0, "at least 0")
        self.require("sigma", self.sigma > 0, "above 0")
        self.require("self_weight", 0 <= self.self_weight <= 1, "0 to 1")
        self.require("alpha", self.alpha >= 0, "at least 0")
        if self.attention not in ("cosine", "distance"):
            raise unknown_name("strategy.attention", self.attention, ("cosine", "distance"))

    def check(self, model: Staged, config: Config) -> None:
        """Check that models can be mixed."""
        self.require_one_architecture(config)

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep all weights; what is sent is a copy for the server alone."""
        return all_keys(model)

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return CloudServer(federation, self)

    def train(self, task: Task) -> Update:
        """Train near the mixture, then send one's model."""
        cloud = {key.removeprefix(CLOUD): w for key, w in task.received.items() if key.startswith(CLOUD)}

        def near(model: nn.Module, batch: Batch) -> Tensor:
            return cross_entropy(model, batch) + self.lambda_prox * half_squared_distance(model, cloud)

        loss = task.fit(near if cloud and self.lambda_prox else cross_entropy)
        stay = local_keys(task.model, task.config.batch_norm)
        send = {MODEL + name: w.detach() for name, w in task.model.named_parameters() if name not in stay}
        return Update(send=send, keep=task.personal(), metrics={"loss": loss})

    def weights(self, models: Tensor) -> Tensor:
        """Return ξ (clients, clients), rows that sum to 1, for models (clients, parameters)."""
        others = ~torch.eye(len(models), dtype=torch.bool)
        if len(models) == 1:
            return torch.ones(1, 1, dtype=models.dtype)
        if self.attention == "cosine":
            unit = torch.nn.functional.normalize(models)
            similar = (self.sigma * unit @ unit.T).masked_fill(~others, -math.inf).softmax(1)
            return (1 - self.self_weight) * similar + self.self_weight * (~others)
        squared = torch.stack([(models - row).square().sum(1) for row in models])
        received = self.alpha * (-squared / self.sigma).exp() / self.sigma * others
        received = received / received.sum(1, keepdim=True).clamp_min(1)
        return received + torch.diag(1 - received.sum(1))


@dataclass(frozen=True)
class ModelsState(ServerState):
    """What the server remembers.

    Args:
        shared: Nothing.
        models: Every client's last model, by client in ascending order.
        xi: ξ (clients, clients) of these clients, in float64.
    """

    models: dict[int, State]
    xi: Tensor


@dataclass(frozen=True)
class CloudServer(Server[ModelsState]):
    """Keeps every client's last model and mixes a cloud model for each.

    Args:
        rule: Weighs the models.
    """

    rule: FedAMP

    def init(self) -> ModelsState:
        """Start without any model."""
        return ModelsState({}, {}, torch.zeros(0, 0))

    def aggregate(self, state: ModelsState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ModelsState]:
        """Put down the models that were sent and weigh all of them anew."""
        new = {client: snapshot(each.tensors) for client, each in sent.items()}
        models = dict(sorted((state.models | new).items()))
        flat = [torch.cat([w.flatten() for w in model.values()]).double() for model in models.values()]
        return Aggregated(ModelsState({}, models, self.rule.weights(torch.stack(flat))))

    def send_to(self, state: ModelsState, client: int, round: int, purpose: Purpose) -> State:
        """Return u_k to a client whose model is known."""
        if purpose == "score" or client not in state.models:
            return {}
        models = list(state.models.values())
        xi = state.xi[list(state.models).index(client)].tolist()
        keys = {key: CLOUD + key.removeprefix(MODEL) for key in models[0]}
        return {name: sum(x * each[key] for x, each in zip(xi, models, strict=True)) for key, name in keys.items()}
