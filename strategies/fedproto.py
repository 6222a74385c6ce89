"""FedProto: clients exchange the mean representation of each class, and no weights.

Tan, Long, Liu, Zhou, Lu, Jiang and Zhang, "FedProto: Federated Prototype Learning across Heterogeneous Clients", AAAI
2022, https://arxiv.org/abs/2105.00243, Algorithm 1, Eqs. 3 to 7.

    Client k   L_k = CE(f_k(x), y) + λ ‖h_k(x) − C_y‖² / d            on classes y that have a global prototype
               sends C_ky = mean of h_k(x) over its training samples of class y, and n_ky, their number
    Server     C_y = Σ_k n_ky C_ky / Σ_k n_ky over the clients that hold class y
    Inference  argmin_y ‖h_k(x) − C_y‖²

h_k is what enters the head, d values. The personal model is h_k with the nearest global prototype
(`inference=prototype`, as in the paper) or with the client's own head (`classifier`); a class without a prototype is
never answered. A client that has never been sampled uses its initial h and the global prototypes. With λ = 0 and the
classifier this is Local, to the last bit.

Deviations: the server weighs by n_ky (the paper's Eq. 6 divides by the number of clients besides, which would shrink
all prototypes). Prototypes are taken after local training, in evaluation mode. Of a client that is not sampled, the
last C_ky stand.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers.client import State, Task, Update
from fedpers.errors import unknown_name
from fedpers.federation import Federation
from fedpers.models.staged import Staged
from fedpers.training import Batch, Objective, collect, cross_entropy
from strategies.base import Algorithm
from strategies.parts.class_means import ClassMeansServer, class_averages

MEAN, COUNT = "prototypes/mean", "labels/count"
GLOBAL, CLASS = "prototypes/global", "labels/class"


@dataclass(frozen=True)
class FedProto(Algorithm):
    """Both halves of FedProto.

    Args:
        lambda_proto: Weight λ of the distance from the prototypes.
        inference: prototype or classifier.
    """

    lambda_proto: float
    inference: str

    def __post_init__(self) -> None:
        """Check the range and the choice."""
        self.require("lambda_proto", self.lambda_proto >= 0, "at least 0")
        if self.inference not in ("prototype", "classifier"):
            raise unknown_name("strategy.inference", self.inference, ("prototype", "classifier"))

    def is_personal(self, key: str) -> bool:
        """Keep all weights."""
        return True

    def server(self, federation: Federation) -> ClassMeansServer:
        """Return the server half."""
        return PrototypeServer(federation)

    def train(self, task: Task) -> Update:
        """Learn near the global prototypes, then send one's own."""
        loss = task.fit(self.client_loss(task.received))
        task.model.eval()
        (features,) = collect(lambda inputs: (task.model.features(inputs),), task.data.train)
        mean, count = class_averages(features, task.data.train.labels, task.data.num_classes)
        return Update(send={MEAN: mean, COUNT: count}, keep=task.personal(), metrics={"loss": loss})

    def client_loss(self, received: State) -> Objective:
        """Return L_k for the prototypes that the server sent, if it sent any."""
        if GLOBAL not in received or not self.lambda_proto:
            return cross_entropy
        rows, classes = received[GLOBAL], received[CLASS]

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            assert isinstance(model, Staged)
            features, logits = model.features_and_logits(batch.inputs)
            match = batch.labels[:, None] == classes
            distance = (features - match.to(rows.dtype) @ rows).square().mean(1)
            near = (distance * match.any(1)).mean()
            return F.cross_entropy(logits, batch.labels) + self.lambda_proto * near

        return loss

    def personalize(self, task: Task) -> Staged:
        """Return the model with the nearest prototype for a head."""
        if self.inference == "classifier" or GLOBAL not in task.received:
            return task.model
        nearest = NearestPrototype(task.received[GLOBAL], task.received[CLASS], task.data.num_classes)
        return task.model.with_head(nearest)


class NearestPrototype(nn.Module):
    """Answer −‖h − C_y‖² for each class; a class without a prototype is answered below all others.

    Args:
        prototypes: (known, d).
        classes: (known,) the classes that they stand for.
        num_classes: Number of logits.
    """

    def __init__(self, prototypes: Tensor, classes: Tensor, num_classes: int) -> None:
        """Keep the prototypes; they are no parameters."""
        super().__init__()
        self.prototypes, self.classes, self.num_classes = prototypes, classes, num_classes

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (n, classes) for representations (n, ...)."""
        logits = -(hidden.flatten(1)[:, None] - self.prototypes).square().sum(2)
        lowest = logits.min(1, keepdim=True).values - 1
        return lowest.repeat(1, self.num_classes).index_copy(1, self.classes, logits)


class PrototypeServer(ClassMeansServer):
    """Gives every client the prototypes of all, also those that are scored only.

    Args:
        federation: What the server knows before the first round.
    """

    def __init__(self, federation: Federation) -> None:
        """Expect what clients of FedProto send."""
        super().__init__(federation, MEAN, COUNT)

    def aggregate(self, round: int, sent: dict[int, State]) -> State:
        """Put down what was sent and return a prototype for each class that some client holds."""
        super().aggregate(round, sent)
        known = [pair for _, pair in sorted(self.means.items())]
        total = torch.stack([count for _, count in known]).sum(0)
        sums = torch.zeros(len(total), known[0][0].shape[1])
        for mean, count in known:
            present = count > 0
            sums[present] += count[present, None] * mean
        held = total > 0
        return {GLOBAL: sums[held] / total[held, None], CLASS: held.nonzero().flatten()}
