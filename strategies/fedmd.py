"""FedMD: clients agree about public samples, and learn from the agreement.

Li and Wang, "FedMD: Heterogenous Federated Learning via Model Distillation", NeurIPS workshop 2019,
https://arxiv.org/abs/1910.03581, Algorithm 1.

    Digest       f_k ← E_d epochs of SGD on ‖f_k(x) − f̄(x)‖₁ / classes over the public samples of the last round
    Revisit      f_k ← E epochs of SGD on CE over the private samples
    Communicate  sends f_k(x), logits, for this round's public samples, drawn anew every round
    Aggregate    f̄(x) = mean of f_k(x) over the sampled clients

The public set is `public_samples=N` of the dataset, of which no client holds any. The personal
model is f_k, of any architecture; there is no global model. With E_d = 0 this is Local, to the last bit. A client that
has never been sampled uses the initial model.

Deviations: the round starts with digesting what the last round has aggregated, where the paper's starts with
communicating: the same order of steps, cut elsewhere. The paper first trains every model on the labelled public set;
that is left out, as no other algorithm here sees public labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpers import seeds
from fedpers.algorithm import (
    Aggregated,
    Algorithm,
    Federation,
    Purpose,
    Sent,
    Server,
    ServerState,
    State,
    Task,
    Update,
)
from fedpers.config.keys import Config
from fedpers.errors import UserError
from fedpers.models.staged import Staged
from fedpers.training import Batch, Split
from strategies.parts.answers import answers
from strategies.parts.personal_layers import all_keys

LOGITS, CONSENSUS, ROUND = "soft_labels/logits", "soft_labels/consensus", "control/round"


@dataclass(frozen=True)
class FedMD(Algorithm):
    """Both halves of FedMD.

    Args:
        alignment_samples: Public samples of a round.
        digest_epochs: Epochs E_d over them.
    """

    sends = ("soft_labels",)
    receives = ("soft_labels", "control")

    alignment_samples: int
    digest_epochs: int

    def needs(self, config: Config) -> dict[str, Any]:
        """Return twice the public samples of a round, so that rounds differ."""
        enough = config.public_samples >= self.alignment_samples
        return {} if enough else {"public_samples": 2 * self.alignment_samples}

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("alignment_samples", self.alignment_samples >= 1, "at least 1")
        self.require("digest_epochs", self.digest_epochs >= 0, "at least 0")

    def check(self, model: Staged, config: Config) -> None:
        """Check that there is a public set."""
        if needs := self.needs(config):
            raise UserError(
                f"strategy=fedmd compares answers to strategy.alignment_samples={self.alignment_samples} public "
                f"samples in a round, but public_samples={config.public_samples}. Accepted: public_samples="
                f"{needs['public_samples']}, say; no client will hold them"
            )

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep all weights."""
        return all_keys(model)

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return ConsensusServer(federation)

    def public(self, task: Task, round: int) -> Split:
        """Return the public samples of a round, the same for all clients."""
        public = task.data.public
        assert public is not None
        generator = seeds.torch_generator(task.config.seed, "public samples", round=round)
        rows = torch.randperm(len(public), generator=generator)[: self.alignment_samples].to(public.labels.device)
        return Split(public.inputs[rows], public.labels[rows])

    def train(self, task: Task) -> Update:
        """Digest, revisit, communicate."""
        if CONSENSUS in task.received and self.digest_epochs:
            consensus = task.received[CONSENSUS]

            def digest(model: nn.Module, batch: Batch) -> Tensor:
                return F.l1_loss(model(batch.inputs), consensus[batch.index])

            seen = self.public(task, int(task.received[ROUND]))
            task.fit(digest, data=seen, epochs=self.digest_epochs, purpose="digest")
        loss = task.fit()
        logits = answers(task.model, self.public(task, task.round))
        return Update(send={LOGITS: logits}, keep=task.personal(), metrics={"loss": loss})


@dataclass(frozen=True)
class ConsensusState(ServerState):
    """What the server remembers.

    Args:
        shared: Nothing.
        consensus: f̄ and the round of its samples, as clients are sent them; nothing at first.
    """

    consensus: State


class ConsensusServer(Server[ConsensusState]):
    """Averages the clients' answers to the public samples."""

    def init(self) -> ConsensusState:
        """Start without a consensus."""
        return ConsensusState({}, {})

    def send_to(self, state: ConsensusState, client: int, round: int, purpose: Purpose) -> State:
        """Return the last consensus, and the round of its samples."""
        return state.consensus if purpose == "train" else {}

    def aggregate(self, state: ConsensusState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ConsensusState]:
        """Take the mean of the answers, every client counting once."""
        consensus = torch.stack([each.tensors[LOGITS] for each in sent.values()]).mean(0)
        return Aggregated(ConsensusState({}, {CONSENSUS: consensus, ROUND: torch.tensor(round)}))
