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
last C_ky stand. With privacy a client sends a row for every class, zeros where it has none, all n_ky = 1; with
privacy=central C_y is the noisy mean over the clients of the last round in which it stood out of the noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fedpers.algorithm import Aggregated, Algorithm, Federation, Sent, Server, State, Task, Update
from fedpers.errors import unknown_name
from fedpers.models.staged import Staged
from strategies.parts.answers import representations
from strategies.parts.class_means import (
    ClassMeansServer,
    MeansState,
    class_averages,
    fault_in_means,
    of_every_class,
)
from strategies.parts.personal_layers import all_keys
from strategies.parts.prototypes import (
    CLASS,
    COUNT,
    GLOBAL,
    MEAN,
    NearestPrototype,
    mean_prototypes,
    near_prototypes,
)


@dataclass(frozen=True)
class FedProto(Algorithm):
    """Both halves of FedProto.

    Args:
        lambda_proto: Weight λ of the distance from the prototypes.
        inference: prototype or classifier.
    """

    sends = ("prototypes", "labels")
    blurs = ("central", "local")
    receives = ("prototypes", "labels")
    varies = MappingProxyType({MEAN: (0,)})

    lambda_proto: float
    inference: str

    def __post_init__(self) -> None:
        """Check the range and the choice."""
        self.require("lambda_proto", self.lambda_proto >= 0, "at least 0")
        if self.inference not in ("prototype", "classifier"):
            raise unknown_name("strategy.inference", self.inference, ("prototype", "classifier"))

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep all weights."""
        return all_keys(model)

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Return what makes a client's means impossible; empty: nothing."""
        return fault_in_means(sent, MEAN, COUNT)

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return PrototypeServer(federation, MEAN, COUNT)

    def train(self, task: Task) -> Update:
        """Learn near the global prototypes, then send one's own."""
        loss = task.fit(near_prototypes(task.received, self.lambda_proto))
        hidden = representations(task.model, task.data.train)
        mean, count = class_averages(hidden, task.data.train.labels, task.data.num_classes)
        if task.config.privacy:
            mean, count = of_every_class(mean, count)
        return Update(send={MEAN: mean, COUNT: count}, keep=task.personal(), metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Return the model with the nearest prototype for a head."""
        if self.inference == "classifier" or GLOBAL not in task.received:
            return task.model
        nearest = NearestPrototype(task.received[GLOBAL], task.received[CLASS], task.data.num_classes)
        return task.model.with_head(nearest)


@dataclass(frozen=True)
class PrototypeServer(ClassMeansServer[MeansState]):
    """Gives every client the prototypes of all, also those that are scored only."""

    def init(self) -> MeansState:
        """Start without any prototypes."""
        return MeansState({}, {})

    def aggregate(self, state: MeansState, round: int, sent: Mapping[int, Sent]) -> Aggregated[MeansState]:
        """Put down what was sent and average all that is known."""
        means = self.put_down(state, round, sent)
        return Aggregated(MeansState(mean_prototypes(means.values()), means))
