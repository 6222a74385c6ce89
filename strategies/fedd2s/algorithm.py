"""FedD2S: personalized data-free federated knowledge distillation, deep layers dropped from the federation first.

Atapour, Seyedmohammadi, Abouei, Mohammadi and Plataniotis, "FedD2S: Personalized Data-Free Federated Knowledge
Distillation", 2024, https://arxiv.org/abs/2402.10846.

A client's model is L stages; h = s_c(...s_1(x)) is its representation at cut c, f_k(x) its logits. In round t the
active cut is c_t = set[min((t-1) // interval, |set|-1)], from deep to shallow: stages behind it have been dropped. The
server owns one head g_c a cut.

    Client   L_k = CE(f_k(x), y) + λ_ce CE(g_c(h), y) + λ_kl T² KL(q ‖ f_k(x)/T)       g_c frozen
             sends h, p = softmax(f_k(x)/T) and y, by sample or as class means with counts
    Server   L_g = CE(g_c(h), y) + μ T² KL(p ‖ g_c(h)/T)                               on all that was sent, by Adam
             q = softmax(g_c(h)/T), sent back to the client when it is next sampled

With strategy.share=weights or both, the stages before the active cut are averaged (`strategies.fedd2s.weights`), which
is our second reading of what takes part in the federation; with knowledge weights never leave a client, and there is no
global model. The personal model is f_k, or with strategy.vote the mixture of `strategies.fedd2s.vote`, which is our
addition, as is strategy.trim, by which a head does not learn from the clients whose knowledge it fits worst: Shen and
Sanghavi, "Learning with Bad Training Data via Iterative Trimmed Loss Minimization", ICML 2019,
https://arxiv.org/abs/1810.11874, by client instead of by sample. The server half is `strategies.fedd2s.server`.

Deviations: the paper's full text was not at hand. The above is our reading of its abstract and public summaries; the
form of the losses, the warm-up rule (a head never teaches before it has been trained), the pooling of h before it is
sent and all defaults are ours. KL(q ‖ f) stands for the cross-entropy with target q less q's entropy, a constant.
"""

from dataclasses import dataclass
from typing import Any

from fedpers.algorithm import WEIGHTS, Federation, Server, State, Task, Update
from fedpers.models.staged import Staged
from strategies.fedd2s.client import CUT, HEAD, POOLED, train
from strategies.fedd2s.server import HeadServer
from strategies.fedd2s.settings import Settings
from strategies.fedd2s.vote import Rule, label_shift, with_vote
from strategies.fedd2s.weights import load_averages
from strategies.parts.exchange import ROWS, fault_in_knowledge
from strategies.parts.heads import frozen_head


@dataclass(frozen=True)
class FedD2S(Settings):
    """Both halves, under the keys of `strategies.fedd2s.settings`."""

    varies = ROWS

    @property
    def sends(self) -> tuple[str, ...]:
        """Knowledge, weights, or both."""
        knowledge = ("representations", "soft_labels", "labels") if self.shares_knowledge else ()
        return (*knowledge, *self._weights)

    @property
    def receives(self) -> tuple[str, ...]:
        """The cut, what the server says of knowledge, averages, or both."""
        answers = ("heads", "soft_labels", *(("labels",) if self.vote else ())) if self.shares_knowledge else ()
        return (*answers, "control", *self._weights)

    @property
    def averages(self) -> bool:
        """Whether it shares weights."""
        return self.shares_weights

    @property
    def blurs(self) -> tuple[str, ...]:
        """Weights alone, or class means, of which a client then sends a row for every class.

        Under central noise heads learn from the mean over clients, so that none can be left out.
        """
        if not self.shares_knowledge:
            return ("central", "local")
        if self.knowledge != "class_means" or self.heads != "global":
            return ()
        return ("local",) if self.trim else ("central", "local")

    @property
    def _weights(self) -> tuple[str, ...]:
        return (WEIGHTS,) if self.shares_weights else ()

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Return what makes a client's knowledge impossible; empty: nothing."""
        return fault_in_knowledge(sent, federation.num_classes) if self.shares_knowledge else ""

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return HeadServer(federation, self)

    def train(self, task: Task) -> Update:
        """Train one client for one round."""
        return train(self, task)

    def personalize(self, task: Task) -> Staged:
        """Return the client's model, its shared stages averaged; the head of the active cut may have a vote in it."""
        if self.shares_weights and self.trunk == "averaged":
            load_averages(task, int(task.received[CUT]))
        head = frozen_head(task.received, HEAD) if self.vote else None
        if head is None:
            return task.model
        view, cut, rule = self.view(task.config.seed), int(task.received[CUT]), Rule(self.vote, self.vote_shift)
        own = task.data.train.labels.bincount(minlength=task.data.num_classes)
        shift = label_shift(own, task.received[POOLED])
        return with_vote(task.model, cut, head, view, rule, task.data.val, shift)
