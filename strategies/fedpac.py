"""FedPAC: representations are aligned at common class centroids, and every client's head is mixed from all heads.

Xu, Tong and Huang, "Personalized Federated Learning with Feature Alignment and Classifier Collaboration", ICLR 2023,
https://arxiv.org/abs/2306.11867, Algorithm 1.

    ClientUpdate:  φ_k ← τ_h epochs of SGD on CE(f(x; θ_t, φ)) from φ̃_k, θ_t standing still
                   θ_k ← E epochs of SGD on CE(f(x; θ, φ_k)) + λ ‖h(x; θ) − C_y‖² / d, φ_k standing still
                   sends θ_k, φ_k, n_ky, c_ky = mean of h(x; θ_k) over class y, and of h(x; θ_t), before training,
                   M_ky = n_ky / n_k · mean over class y,  V_k = mean of ‖h(x; θ_t)‖² − Σ_y ‖M_ky‖²
    Server:        θ_{t+1} = Σ_k (n_k / n) θ_k over the sampled clients,  C_y = Σ_k n_ky c_ky / Σ_k n_ky
                   φ̃_k = Σ_j α_kj φ_j,  α_k = argmin Σ_j α_j² V_j / n_j + Σ_y ‖Σ_j α_j M_jy − M_ky‖² on the simplex

h is what enters the head φ, d values; θ is all else. The personal model is (θ_t, φ̃_k) where a mixed head came along,
else (θ_t, φ_k); evaluation sends none and scores φ_k. A client that has never been sampled uses φ as initialized. With
λ = 0 and without mixing this is FedRep, its personal stage being the head, to the last bit.

Deviations: of a client that is not sampled, head and statistics stand as last sent; the paper mixes within a round. φ
and θ have one step size. A ridge of 1e-10 of the quadratic program's trace makes equals share evenly. Clients whose
numbers are not finite are left out of mixtures; only parameters are mixed. Running statistics move in both phases.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import nnls
from torch import Tensor

from fedpers.client import State, Task, Update
from fedpers.federation import Federation
from fedpers.models.staged import Staged, stage_of
from fedpers.training import collect
from strategies.base import Algorithm
from strategies.fedproto import COUNT, MEAN, FedProto, PrototypeServer
from strategies.parts import second_model as personal
from strategies.parts.class_means import class_averages
from strategies.parts.freezing import only

HEAD, MOMENTS, VARIANCE = "heads/", "prototypes/moments", "prototypes/variance"


@dataclass(frozen=True)
class FedPAC(Algorithm):
    """Feature alignment and classifier collaboration.

    Args:
        lambda_align: Weight λ of the distance from the centroids.
        head_epochs: Epochs τ_h of the head; those of the representation are `local_epochs`.
        mix_heads: Whether the server mixes heads.
    """

    lambda_align: float
    head_epochs: int
    mix_heads: bool

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("lambda_align", self.lambda_align >= 0, "at least 0")
        self.require("head_epochs", self.head_epochs >= 0, "at least 0")

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep the head."""
        return frozenset(key for key in model.state_dict() if stage_of(key) == model.stage_names[-1])

    def server(self, federation: Federation) -> "CollaborationServer":
        """Return the server half."""
        return CollaborationServer(federation)

    def train(self, task: Task) -> Update:
        """Fit the mixed head, then the representation near the centroids."""
        (*stages, head), labels, classes = task.model.stage_names, task.data.train.labels, task.data.num_classes
        send = {COUNT: labels.bincount(minlength=classes)}
        if self.mix_heads:
            h = _features(task)
            moments = h.new_zeros(classes, h.shape[1]).index_add_(0, labels, h) / len(h)
            variance = (h.square().sum(1).mean() - moments.square().sum()).clamp_min(0)
            send |= {MOMENTS: moments, VARIANCE: variance / len(h)}
        model = self.personalize(task)
        with only(model, [head]) as parameters:
            task.fit(epochs=self.head_epochs, parameters=parameters, purpose="head")
        with only(model, stages) as parameters:
            loss = task.fit(FedProto(self.lambda_align, "classifier").client_loss(task.received), parameters=parameters)
        if self.lambda_align:
            send[MEAN], _ = class_averages(_features(task), labels, classes)
        if self.mix_heads:
            send |= {HEAD + name: w.detach() for name, w in model.named_parameters() if stage_of(name) == head}
        return Update(send=task.shared() | send, keep=task.personal(), metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Return the model with the mixed head, if one was sent."""
        personal.load(task.model, {k.removeprefix(HEAD): w for k, w in task.received.items() if k.startswith(HEAD)})
        return task.model


def _features(task: Task) -> Tensor:
    """Return h for all training samples, in evaluation mode: (n, d)."""
    model = task.model.eval()
    return collect(lambda inputs: (model.features(inputs),), task.data.train)[0]


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


class CollaborationServer(PrototypeServer):
    """Averages representations, keeps every client's last head and statistics, and mixes a head for each.

    Args:
        federation: What the server knows before the first round.
    """

    def __init__(self, federation: Federation) -> None:
        """Start without heads: clients use their initial ones."""
        super().__init__(federation)
        self.known: dict[int, State] = {}
        self.centroids: State = {}

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Move the centroids, put down heads and statistics, and average θ by training samples."""
        if all(MEAN in state for state in sent.values()):
            self.centroids = super().aggregate(round, sent)
        for client, state in sent.items():
            if VARIANCE in state and all(w.isfinite().all() for w in state.values()):
                self.known[client] = {k: w for k, w in state.items() if k.startswith((HEAD, MOMENTS, VARIANCE))}
        if self.known:
            moments = torch.stack([state[MOMENTS].double().flatten() for _, state in sorted(self.known.items())])
            self.gram = (moments - moments.mean(0)) @ (moments - moments.mean(0)).T  # only differences matter
        return self.mean_weights(sent, COUNT)

    def send_to(self, client: int, round: int) -> State:
        """Return the centroids, and φ̃_k to a client whose head is known."""
        if client not in self.known:
            return self.centroids
        states = [state for _, state in sorted(self.known.items())]
        variances = torch.stack([state[VARIANCE].double() for state in states])
        alpha = mixing_weights(self.gram, variances, sorted(self.known).index(client))
        heads = {key: torch.stack([state[key] for state in states]) for key in states[0] if key.startswith(HEAD)}
        return self.centroids | {key: torch.tensordot(alpha.float(), w, 1) for key, w in heads.items()}
