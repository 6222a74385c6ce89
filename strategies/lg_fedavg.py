"""LG-FedAvg: personal representations, a shared head: the mirror image of FedPer.

Liang, Liu, Ziyin, Salakhutdinov and Morency, "Think Locally, Act Globally: Federated Learning with Local and Global
Representations", 2020, https://arxiv.org/abs/2001.01523, Algorithm 1.

    ClientUpdate:  (θ_k, φ_k) ← E epochs of SGD on CE from (θ_k, φ_t), both trained together
    Server:        φ_{t+1} = Σ_k (n_k / n) φ_k over the sampled clients

θ_k are the first layers, φ the last ones. The personal model is (θ_k, φ_t). A client that has never been sampled uses
θ as initialized. Sharing nothing is Local, sharing everything FedAvg, both to the last bit.

Deviations: the paper's auxiliary losses of the local part (adversarial and self-supervised) are left out, as in its
supervised experiments; local and shared part are trained from the start, where the paper begins with a pre-trained
FedAvg model.
"""

from dataclasses import dataclass

from fedpers.algorithm import Algorithm
from fedpers.config.keys import Config
from fedpers.models.staged import Staged
from strategies.parts.personal_layers import keys_of


@dataclass(frozen=True)
class LGFedAvg(Algorithm):
    """Shared last stages.

    Args:
        shared: Names of the stages that are averaged; all others stay.
    """

    shared: tuple[str, ...]

    def check(self, model: Staged, config: Config) -> None:
        """Check the stages' names."""
        model.check_stages(self.shared, "strategy.shared")

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep the stages that are not shared."""
        return keys_of(model, set(model.stage_names) - set(self.shared))
