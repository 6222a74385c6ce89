"""FedPAC: representations are aligned at common class centroids, and every client's head is mixed from all heads.

Xu, Tong and Huang, "Personalized Federated Learning with Feature Alignment and Classifier Collaboration", ICLR 2023,
https://arxiv.org/abs/2306.11867, Algorithm 1.

    ClientUpdate:  φ_k ← τ_h epochs of SGD on CE(f(x; θ_t, φ)) from φ̃_k, θ_t standing still
                   θ_k ← E epochs of SGD on CE(f(x; θ, φ_k)) + λ ‖h(x; θ) − C_y‖² / d, φ_k standing still
                   sends θ_k, φ_k, n_ky, c_ky = mean of h(x; θ_k) over class y, and of h(x; θ_t), before training,
                   M_ky = n_ky / n_k · mean over class y,  V_k = mean of ‖h(x; θ_t)‖² − Σ_y ‖M_ky‖²
    Server:        θ_{t+1} = Σ_k (n_k / n) θ_k over the sampled clients,  C_y = Σ_k n_ky c_ky / Σ_k n_ky
                   φ̃_k = Σ_j α_kj φ_j,  α_k = argmin Σ_j α_j² V_j / n_j + Σ_y ‖Σ_j α_j M_jy − M_ky‖² on the simplex

h is what enters the head φ, d values; θ is all else. The personal model is (θ_t, φ̃_k), with the mixed head of the
clients' last heads. A client that has never been sampled uses φ as initialized. With λ = 0 and without mixing the
personal model is (θ_t, φ_k), and this is FedRep, its personal stage being the head, to the last bit.

Deviations: of a client that is not sampled, head and statistics stand as last sent; the paper mixes within a round. φ
and θ have one step size. A ridge of 1e-10 of the quadratic program's trace makes equals share evenly. Clients whose
numbers are not finite are left out of mixtures; only parameters are mixed. Running statistics move in both phases.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from scipy.optimize import nnls
from torch import Tensor

from fedpers.algorithm import (
    Aggregated,
    Algorithm,
    Federation,
    Purpose,
    Sent,
    Server,
    State,
    Task,
    Update,
    weights_of,
)
from fedpers.models.staged import Staged, stage_of
from strategies.parts.answers import representations
from strategies.parts.class_means import ClassMeansServer, MeansState, class_averages, fault_in_means
from strategies.parts.freezing import only
from strategies.parts.personal_layers import keys_of
from strategies.parts.prototypes import COUNT, MEAN, mean_prototypes, near_prototypes
from strategies.parts.snapshots import restore, snapshot

HEAD, MOMENTS, VARIANCE = "heads/", "prototypes/moments", "prototypes/variance"


@dataclass(frozen=True)
class FedPAC(Algorithm):
    """Feature alignment and classifier collaboration.

    Args:
        lambda_align: Weight λ of the distance from the centroids.
        head_epochs: Epochs τ_h of the head; those of the representation are `local_epochs`.
        mix_heads: Whether the server mixes heads.
    """

    sends = ("weights", "heads", "prototypes", "labels")
    receives = ("weights", "heads", "prototypes", "labels")
    reveals = ("heads",)
    averages = True
    varies = MappingProxyType({MEAN: (0,)})

    lambda_align: float
    head_epochs: int
    mix_heads: bool

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("lambda_align", self.lambda_align >= 0, "at least 0")
        self.require("head_epochs", self.head_epochs >= 0, "at least 0")

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep the head."""
        return keys_of(model, model.stage_names[-1:])

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Return what makes a client's means impossible; empty: nothing."""
        return fault_in_means(sent, MEAN, COUNT)

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return CollaborationServer(federation, MEAN, COUNT)

    def train(self, task: Task) -> Update:
        """Fit the mixed head, then the representation near the centroids."""
        (*stages, head), labels, classes = task.model.stage_names, task.data.train.labels, task.data.num_classes
        send = {COUNT: labels.bincount(minlength=classes)}
        if self.mix_heads:
            h = representations(task.model, task.data.train)
            moments = h.new_zeros(classes, h.shape[1]).index_add_(0, labels, h) / len(h)
            variance = (h.square().sum(1).mean() - moments.square().sum()).clamp_min(0)
            send |= {MOMENTS: moments, VARIANCE: variance / len(h)}
        model = self.personalize(task)
        with only(model, [head]) as parameters:
            task.fit(epochs=self.head_epochs, parameters=parameters, purpose="head")
        with only(model, stages) as parameters:
            loss = task.fit(near_prototypes(task.received, self.lambda_align), parameters=parameters)
        if self.lambda_align:
            send[MEAN], _ = class_averages(representations(model, task.data.train), labels, classes)
        if self.mix_heads:
            send |= {HEAD + name: w.detach() for name, w in model.named_parameters() if stage_of(name) == head}
        return Update(send=task.shared() | send, keep=task.personal(), metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Return the model with the mixed head, if one was sent."""
        restore(task.model, {k.removeprefix(HEAD): w for k, w in task.received.items() if k.startswith(HEAD)})
        return task.model


def mixing_weights(gram: Tensor, variances: Tensor, k: int) -> Tensor:
    """Return α_k (clients,) for all ⟨M_i, M_j⟩ (clients, clients) and all V / n (clients,), in float64.

    SciPy solves the program as non-negative least squares: with P = RᵀR, the a ≥ 0 that minimizes ‖R a‖² + (Σ a − 1)²
    is a multiple of the α that minimizes αᵀPα on the simplex, for their optimality conditions are equal up to scale.
    """
    program = gram - gram[k] - gram[k][:, None] + gram[k, k] + variances.diag()
    scaled = program / program.trace().clamp_min(torch.finfo(program.dtype).tiny)
    root = torch.linalg.cholesky(scaled + 1e-10 * torch.eye(len(program)), upper=True)
    rows = torch.cat([root, torch.ones_like(root[:1])])
    a, _ = nnls(rows.numpy(), torch.eye(len(rows))[-1].numpy(), maxiter=30 * len(rows))
    return torch.from_numpy(a / a.sum())


def gram_of(known: Iterable[State]) -> Tensor:
    """Return ⟨M_i, M_j⟩ (clients, clients) of clients' moments, in float64."""
    moments = [state[MOMENTS].double().flatten() for state in known]
    if not moments:
        return torch.zeros(0, 0)
    centered = torch.stack(moments) - torch.stack(moments).mean(0)  # only differences matter
    return centered @ centered.T


@dataclass(frozen=True)
class CollaborationState(MeansState):
    """What the server remembers.

    Args:
        shared: θ_t.
        means: Every client's last means by class.
        centroids: C_y, as clients are sent them; nothing before there are any.
        known: Every client's last head and statistics, by client in ascending order.
        gram: ⟨M_i, M_j⟩ (clients, clients) of these clients, in float64.
    """

    centroids: State
    known: dict[int, State]
    gram: Tensor


@dataclass(frozen=True)
class CollaborationServer(ClassMeansServer[CollaborationState]):
    """Averages representations, keeps every client's last head and statistics, and mixes a head for each."""

    def init(self) -> CollaborationState:
        """Start without heads: clients use their initial ones."""
        return CollaborationState(self.federation.initial, {}, {}, {}, torch.zeros(0, 0))

    def aggregate(self, state: CollaborationState, round: int, sent: Mapping[int, Sent]) -> Aggregated[Any]:
        """Move the centroids, put down heads and statistics, and average θ by training samples."""
        means, centroids = state.means, state.centroids
        if all(MEAN in each.tensors for each in sent.values()):
            means = self.put_down(state, round, sent)
            centroids = mean_prototypes(means.values())
        new = {
            client: snapshot({k: w for k, w in each.tensors.items() if k.startswith((HEAD, MOMENTS, VARIANCE))})
            for client, each in sent.items()
            if VARIANCE in each.tensors and all(w.isfinite().all() for w in each.tensors.values())
        }
        known = dict(sorted((state.known | new).items()))
        shared = self.federation.average(round, sent, state.shared, weights_of)
        return Aggregated(CollaborationState(shared, means, centroids, known, gram_of(known.values())))

    def send_to(self, state: CollaborationState, client: int, round: int, purpose: Purpose) -> State:
        """Return the centroids to learn from, and φ̃_k to a client whose head is known, also when it is scored."""
        centroids = state.centroids if purpose == "train" else {}
        if client not in state.known:
            return centroids
        states = list(state.known.values())
        variances = torch.stack([each[VARIANCE].double() for each in states])
        alpha = mixing_weights(state.gram, variances, list(state.known).index(client))
        heads = {key: torch.stack([each[key] for each in states]) for key in states[0] if key.startswith(HEAD)}
        return centroids | {key: torch.tensordot(alpha.float(), w, 1) for key, w in heads.items()}
