"""FedGKT: small models on the clients and a larger one on the server teach each other.

He, Annavaram and Avestimehr, "Group Knowledge Transfer: Federated Learning of Large CNNs at the Edge", NeurIPS 2020,
https://arxiv.org/abs/2007.14513, Algorithm 1, Eqs. 5 and 6.

    Client k   L_k = CE(f_k(x), y) + λ T² KL(softmax(s(x)/T) ‖ softmax(f_k(x)/T))
               sends h = extractor_k(x), its logits' distribution and y, for every training sample
    Server     L_s = CE(g(h), y) + μ T² KL(softmax(f_k(x)/T) ‖ softmax(g(h)/T)),    s(x) = g(h), sent back to its client

The extractor is the first `cut` stages of the client's model f_k, g the server's model on what leaves it. The personal
model is f_k. With λ = 0 this is Local, to the last bit. A client that has never been sampled uses the initial model.
This is FedD2S with a single cut, never dropped, whose server sends soft labels and keeps its head.

Deviations: g is a network with one hidden layer of `server_hidden` units on pooled feature maps, where the paper's is
the rest of a ResNet; the deployed model is the client's own, where the paper's is extractor and g together. What is on
the wire are distributions, softened by T, not logits.
"""

from dataclasses import dataclass
from functools import cached_property

from fedpers.client import Task, Update
from fedpers.config import Config
from fedpers.federation import Federation
from fedpers.models.staged import Staged
from strategies.base import Algorithm
from strategies.fedd2s import FedD2S
from strategies.fedd2s.server import HeadServer


@dataclass(frozen=True)
class FedGKT(Algorithm):
    """Both halves of FedGKT.

    Args:
        cut: Stages of the extractor.
        lambda_kl: Weight λ of the server's soft labels in the client's loss.
        mu: Weight μ of the clients' soft labels in the server's loss.
        temperature: T, in both directions.
        pool: Feature maps are averaged to at most pool x pool before they are sent.
        server_hidden: Width of the server's hidden layer.
        server_epochs: Passes over the clients' knowledge a round.
        server_lr: Learning rate of the server's Adam.
        server_batch_size: Samples in a batch of the server.
    """

    cut: int
    lambda_kl: float
    mu: float
    temperature: float
    pool: int
    server_hidden: int
    server_epochs: int
    server_lr: float
    server_batch_size: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        _ = self.exchange

    @cached_property
    def exchange(self) -> FedD2S:
        """The exchange of knowledge behind one cut."""
        return FedD2S(
            dropping="none",
            dropping_set=(self.cut,),
            dropping_interval=None,
            patience=1,
            min_delta=0.0,
            lambda_ce=0.0,
            lambda_kl=self.lambda_kl,
            kl_on="model",
            temperature=self.temperature,
            mu=self.mu,
            knowledge="samples",
            feedback="soft_labels",
            soft_label_max_age=None,
            heads="global",
            head_hidden=self.server_hidden,
            head_norm=True,
            pool=self.pool,
            projection=None,
            wire="float32",
            knowledge_clip=None,
            knowledge_noise=0.0,
            server_epochs=self.server_epochs,
            server_lr=self.server_lr,
            server_batch_size=self.server_batch_size,
            clip_norm=None,
        )

    def check(self, model: Staged, config: Config) -> None:
        """Check the cut."""
        model.check_cuts((self.cut,), "strategy.cut")

    def is_personal(self, key: str) -> bool:
        """Keep all weights."""
        return True

    def server(self, federation: Federation) -> HeadServer:
        """Return the server half."""
        return self.exchange.server(federation)

    def train(self, task: Task) -> Update:
        """Learn from the labels and the server, then send what the extractor sees."""
        return self.exchange.train(task)
