"""FedRep: a shared representation, and personal heads that are fitted to it first.

Collins, Hassani, Mokhtari and Shakkottai, "Exploiting Shared Representations for Personalized Federated Learning",
ICML 2021, https://arxiv.org/abs/2102.07078, Algorithm 1.

    ClientUpdate:  φ_k ← τ_h epochs of SGD on CE(f(x; θ_t, φ)), θ_t standing still
                   θ_k ← τ_θ epochs of SGD on CE(f(x; θ, φ_k)), φ_k standing still
    Server:        θ_{t+1} = mean of θ_k over the sampled clients

The personal model is (θ_t, φ_k). A client that has never been sampled uses φ as initialized.

Deviations: the server weighs by n_k, as everywhere here; the paper takes the plain mean. τ counts epochs, not steps.
Running statistics of BatchNorm layers move during both phases.
"""

from dataclasses import dataclass

from fedpers.algorithm import Task, Update
from strategies.parts.freezing import only
from strategies.parts.personal_layers import PersonalLayers


@dataclass(frozen=True)
class FedRep(PersonalLayers):
    """Head first, then the representation.

    Args:
        personal: Names of the stages that stay, the head among them.
        head_epochs: Epochs τ_h of the personal stages; those of the others are `local_epochs`.
    """

    head_epochs: int

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("head_epochs", self.head_epochs >= 0, "at least 0")

    def train(self, task: Task) -> Update:
        """Fit the personal stages, then the shared ones."""
        stages = task.model.stage_names
        with only(task.model, self.personal) as parameters:
            if parameters:
                task.fit(epochs=self.head_epochs, parameters=parameters, purpose="head")
        loss = 0.0
        with only(task.model, [name for name in stages if name not in self.personal]) as parameters:
            if parameters:
                loss = task.fit(parameters=parameters)
        return Update(send=task.shared(), keep=task.personal(), metrics={"loss": loss})
