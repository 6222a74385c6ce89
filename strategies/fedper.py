"""FedPer: shared base layers, personal last layers.

Arivazhagan, Aggarwal, Singh and Choudhary, "Federated Learning with Personalization Layers", 2019,
https://arxiv.org/abs/1912.00818, Algorithms 1 and 2.

    ClientUpdate:  (θ_k, φ_k) ← E epochs of SGD on CE from (θ_t, φ_k), both trained together
    Server:        θ_{t+1} = Σ_k (n_k / n) θ_k

θ is the base, φ_k the personalization layers of client k. The personal model is (θ_t, φ_k). A client that has never
been sampled uses φ as initialized.
"""

from dataclasses import dataclass

from strategies.parts.personal_layers import PersonalLayers


@dataclass(frozen=True)
class FedPer(PersonalLayers):
    """Joint training of shared and personal stages: the defaults of `PersonalLayers`."""
