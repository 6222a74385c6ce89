"""FedALA: every client mixes the global model into its own, element by element, in proportions that it learns.

Zhang, Hua, Wang, Song, Xue, Ma and Guan, "FedALA: Adaptive Local Aggregation for Personalized Federated Learning", AAAI
2023, https://arxiv.org/abs/2212.01197, Eqs. 4 to 6 and Algorithm 1.

    ŵ_k = w_k + (w_t − w_k) ⊙ W_k in the upper stages, w_t below; w_k is the client's model of its last round
    W_k ← clip(W_k − η ∇_W CE(f(x; ŵ_k)), 0, 1) by SGD over a share s of the training samples
    ClientUpdate:  w_k ← E epochs of SGD on CE(f(x; w)) from ŵ_k
    Server:        w_{t+1} = Σ_k (n_k / n) w_k over the sampled clients

W_k starts as ones. The personal model is ŵ_k, mixed anew for every evaluation. A client that has never been sampled
uses w_t. Without any upper stage this is FedAvg, to the last bit.

Deviations: the first time W_k is learned for `start_epochs` epochs where the paper waits until it converges, afterwards
for one. Stages are counted where the paper counts layers. Running statistics of BatchNorm layers are w_t's, and move
while W_k is learned.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from fedpers.algorithm import Algorithm, State, Task, Update
from fedpers.config.keys import Config
from fedpers.models.staged import Staged, stage_of
from fedpers.training import Batch, Split, fit, sgd
from strategies.parts.second_model import store, stored
from strategies.parts.snapshots import restore

WEIGHTS = "mixture/"


@dataclass(frozen=True)
class FedALA(Algorithm):
    """Adaptive local aggregation.

    Args:
        stages: Names of the upper stages, whose weights are mixed.
        share: Share s of the training samples that W_k is learned from.
        weights_lr: Step size η of W_k.
        start_epochs: Epochs for W_k when a client mixes for the first time.
    """

    stages: tuple[str, ...]
    share: float
    weights_lr: float
    start_epochs: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("share", 0 < self.share <= 1, "above 0, at most 1")
        self.require("weights_lr", self.weights_lr >= 0, "at least 0")
        self.require("start_epochs", self.start_epochs >= 0, "at least 0")

    def check(self, model: Staged, config: Config) -> None:
        """Check the stages' names."""
        model.check_stages(self.stages, "strategy.stages")

    def train(self, task: Task) -> Update:
        """Mix, then train."""
        weights = self.mix(task)
        loss = task.fit()
        mixed = [name for name, _ in task.model.named_parameters() if self._is_mixed(task, name)]
        own = store({name: tensor for name, tensor in task.shared().items() if name in mixed})
        return Update(send=task.shared(), keep=task.personal() | own | weights, metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Return the mixture of the global model and one's own."""
        self.mix(task)
        return task.model

    def _is_mixed(self, task: Task, name: str) -> bool:
        return stage_of(name) in self.stages and not task.is_personal(name)

    def mix(self, task: Task) -> State:
        """Put ŵ_k in the place of w_t and return W_k as it is kept; nothing happens without a model of one's own."""
        own = stored(task.state)
        if not own:
            return {}
        received = {name: task.model.get_parameter(name).detach().clone() for name in own}
        known = any(key.startswith(WEIGHTS) for key in task.state)
        weights = {name: task.state.get(WEIGHTS + name, torch.ones_like(own[name])).clone() for name in own}
        for weight in weights.values():
            weight.requires_grad_()

        def mixture() -> State:
            for weight in weights.values():
                weight.detach().clamp_(0, 1)
            return {name: own[name] + (received[name] - own[name]) * weights[name] for name in own}

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return F.cross_entropy(functional_call(model, mixture(), (batch.inputs,)), batch.labels)

        fit(
            task.model,
            self._drawn(task),
            epochs=1 if known else self.start_epochs,
            batch_size=task.config.batch_size,
            optimizer=sgd(weights.values(), self.weights_lr),
            generator=task.generator("weights"),
            objective=loss,
        )
        restore(task.model, {name: tensor.detach() for name, tensor in mixture().items()})
        return {WEIGHTS + name: weight.detach() for name, weight in weights.items()}

    def _drawn(self, task: Task) -> Split:
        """Return the samples that W_k is learned from, at least one."""
        data = task.data.train
        size = max(1, round(self.share * len(data)))
        index = torch.randperm(len(data), generator=task.generator("drawn"))[:size].to(data.labels.device)
        return Split(data.inputs[index], data.labels[index])
