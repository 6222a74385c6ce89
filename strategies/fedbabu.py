"""FedBABU: only the body is trained and shared; the head stays as initialized until a client fine-tunes.

Oh, Kim and Yun, "FedBABU: Toward Enhanced Representation for Federated Image Classification", ICLR 2022,
https://arxiv.org/abs/2106.06042, Algorithm 1.

    ClientUpdate:  θ_k ← E epochs of SGD on CE(f(x; θ, φ_0)), φ_0 standing still
    Server:        θ_{t+1} = Σ_k (n_k / n) θ_k over the sampled clients
    Client's own:  (θ, φ) ← E_f epochs of SGD on CE from (θ_t, φ_0)

φ_0 is the same for all clients. The personal model is the fine-tuned one; it is made for every evaluation and
forgotten, so that a client that has never been sampled has one like any other. With E_f = 0 it is (θ_t, φ_0).

Deviations: none known. Fine-tuning moves the whole model, as in the paper's main results.
"""

from dataclasses import dataclass

from fedpers.algorithm import Task, Update
from fedpers.models.staged import Staged
from strategies.parts.freezing import only
from strategies.parts.personal_layers import PersonalLayers


@dataclass(frozen=True)
class FedBABU(PersonalLayers):
    """Body training with a fixed head.

    Args:
        personal: Names of the stages that stand still, the head among them.
        tuning_epochs: Epochs E_f of fine-tuning before a client's model is used.
    """

    tuning_epochs: int

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("tuning_epochs", self.tuning_epochs >= 0, "at least 0")

    def train(self, task: Task) -> Update:
        """Train the body."""
        with only(task.model, [name for name in task.model.stage_names if name not in self.personal]) as parameters:
            loss = task.fit(parameters=parameters) if parameters else 0.0
        still = self.personal_keys(task.model)  # what else is personal is so by the BatchNorm policy
        norms = {key: w for key, w in task.personal().items() if key not in still}
        return Update(send=task.shared(), keep=norms, metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Fine-tune the whole model."""
        task.fit(epochs=self.tuning_epochs, purpose="personalize")
        return task.model
