"""FD: federated distillation. Clients exchange what their models answer on average to each class, and no weights.

Jeong, Oh, Kim, Park, Bennis and Kim, "Communication-Efficient On-Device Machine Learning: Federated Distillation and
Augmentation under Non-IID Private Data", 2018, https://arxiv.org/abs/1811.11479, Algorithm 1.

    Client k   L_k = CE(f_k(x), y) + λ KL(t_ky ‖ softmax(f_k(x)))          on classes y that have a target
               sends p_ky = mean of softmax(f_k(x)) over its training samples of class y, and n_ky, their number
    Server     t_ky = mean of p_jy over the clients j ≠ k that hold class y

The personal model is f_k; there is no global model. With λ = 0 this is Local, to the last bit.

Deviations: p_ky is taken after local training, in evaluation mode; the paper adds the outputs up while it trains. The
mean is over the other clients that hold the class, not over all others; n_ky says which they are, and weighs nothing.
Of a client that is not sampled, the last p_ky stands. The paper's regularizer is the cross-entropy with target t_ky,
which is KL plus a constant. Federated augmentation, the paper's other half, is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.algorithm import Aggregated, Algorithm, Federation, Purpose, Sent, State, Task, Update
from fedpers.models.staged import Staged
from fedpers.training import Batch, Objective, Split, collect, cross_entropy
from strategies.parts.class_means import ClassMeansServer, MeansState, class_averages, fault_in_means
from strategies.parts.personal_layers import all_keys

MEAN, COUNT = "soft_labels/mean", "labels/count"
TARGET, CLASS = "soft_labels/target", "labels/class"


@dataclass(frozen=True)
class FD(Algorithm):
    """Both halves of FD.

    Args:
        lambda_kd: Weight λ of the distillation.
    """

    sends = ("soft_labels", "labels")
    receives = ("soft_labels", "labels")
    varies = MappingProxyType({MEAN: (0,)})

    lambda_kd: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("lambda_kd", self.lambda_kd >= 0, "at least 0")

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep all weights."""
        return all_keys(model)

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Return what makes a client's means impossible; empty: nothing."""
        return fault_in_means(sent, MEAN, COUNT)

    def server(self, federation: Federation) -> "AverageServer":
        """Return the server half."""
        return AverageServer(federation, MEAN, COUNT, self.lambda_kd)

    def train(self, task: Task) -> Update:
        """Learn from the labels and the others' averages, then send one's own."""
        loss = task.fit(self.client_loss(task.received))
        mean, count = average_outputs(task.model, task.data.train)
        return Update(send={MEAN: mean, COUNT: count}, keep=task.personal(), metrics={"loss": loss})

    def client_loss(self, received: State) -> Objective:
        """Return L_k for the targets that the server sent, if it sent any."""
        if TARGET not in received or not self.lambda_kd:
            return cross_entropy
        rows = received[TARGET]
        # a class without a target has a row of zeros, for which kl_div and its gradient are 0
        targets = rows.new_zeros(rows.shape[1], rows.shape[1]).index_copy(0, received[CLASS], rows)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            logits = model(batch.inputs)
            divergence = F.kl_div(logits.log_softmax(1), targets[batch.labels], reduction="batchmean")
            return F.cross_entropy(logits, batch.labels) + self.lambda_kd * divergence

        return loss


def average_outputs(model: Staged, data: Split) -> tuple[Tensor, Tensor]:
    """Return the mean softmax output over each class present (present, classes), and the samples of all classes."""
    model.eval()
    (outputs,) = collect(lambda inputs: (model(inputs).softmax(1),), data)
    return class_averages(outputs, data.labels, outputs.shape[1])


@dataclass(frozen=True)
class AverageServer(ClassMeansServer[MeansState]):
    """Gives each client the averages of the others.

    Args:
        lambda_kd: Weight λ of the distillation; at 0 nothing is sent.
    """

    lambda_kd: float

    def init(self) -> MeansState:
        """Start without any averages: nobody is taught before somebody has answered."""
        return MeansState({}, {})

    def aggregate(self, state: MeansState, round: int, sent: Mapping[int, Sent]) -> Aggregated[MeansState]:
        """Put down the averages that were sent."""
        return Aggregated(MeansState({}, self.put_down(state, round, sent)))

    def send_to(self, state: MeansState, client: int, round: int, purpose: Purpose) -> State:
        """Return the mean of the other clients' averages, a row for each class that one of them holds."""
        if purpose == "score" or not self.lambda_kd:
            return {}
        size = self.federation.num_classes
        sums, holders = torch.zeros(size, size), torch.zeros(size)
        for other, means in state.means.items():
            if other != client:
                sums[means.count > 0] += means.mean
                holders += means.count > 0
        known = holders > 0
        if not known.any():
            return {}
        return {TARGET: sums[known] / holders[known, None], CLASS: known.nonzero().flatten()}
