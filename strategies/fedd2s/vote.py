"""The head's vote: the head of the active cut answers beside the client's own model when the client predicts.

    p(y | x) = (1 - v) softmax(f_k(x)) + v softmax(g_c(h) + u (log π_k - log π)),    h = s_c(...s_1(x))

f_k is the client's model, g_c the server's head at the active cut c, v the vote. The head knows the classes as often as
they are among all clients, π; Bayes' rule turns its answer into that for a client who meets them as often as π_k says:
Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A Simple
Procedure", Neural Computation 2002, https://doi.org/10.1162/089976602753284446, Eq. 2.4. That is u = 1; with u = 0 the
head says what it would say to anybody, which is better where a client's labels are few for its classes. The paper of
FedD2S, as we read it, has no vote.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from fedpers.models.staged import Staged
from fedpers.training import Split
from strategies.parts.exchange import View
from strategies.parts.mixtures import Mixture, answered, least_loss, mixed

VALIDATION = "validation"
"""The vote that stands for a choice by every client on its validation samples."""

WITHOUT = 0.5
"""The vote of a client that has no validation samples to choose by."""

VOTES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHIFTS = (1.0, 0.5, 0.0)
"""What a client chooses v and u from."""


class Vote(Mixture):
    """The stages behind a cut and the head beside them; answers are log-probabilities.

    Args:
        deep: The client's stages behind the cut: representations as they are to logits.
        head: The server's head: representations as the federation sees them to logits.
        view: How the federation sees them.
        share: The vote v.
        shift: What is added to the head's logits, (classes,): u (log π_k - log π).
    """

    def __init__(self, deep: nn.Module, head: nn.Module, view: View, share: float, shift: Tensor) -> None:
        """Hold both; the head stands still, and is no part of what is fine-tuned."""
        super().__init__(share)
        self.deep, self._view, self.shift = deep, view, shift
        self._head = (head,)  # in a tuple, so that it is no module of the client's model

    def recipe(self) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
        """Return what makes it again."""
        made_of = {"deep": self.deep, "head": self._head[0], "view": self._view}
        return Vote, {**made_of, "share": self.share, "shift": self.shift}

    def answers(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the client's stages and the head say of representations (n, ...): both (n, classes)."""
        common = self._head[0](self._view.embed(hidden)) + self.shift
        return self.deep(hidden).softmax(1), common.softmax(1)


def label_shift(own: Tensor, pooled: Tensor) -> Tensor:
    """Return log π_k - log π for counts of a client's and of all clients' labels: (classes,).

    Each class counts one sample more than it has, so that one which a client has not met is not impossible (Laplace's
    rule of succession).
    """
    ours, all_of_them = ((counts + 1.0) / (counts + 1.0).sum() for counts in (own, pooled))
    return (ours / all_of_them).log()


@dataclass(frozen=True)
class Rule:
    """How a head votes.

    Args:
        vote: v, or "validation".
        shift: u, or "validation".
    """

    vote: float | str
    shift: float | str

    def candidates(self) -> list[tuple[float, float]]:
        """Return every v with every u that a client may choose."""
        shifts = SHIFTS if isinstance(self.shift, str) else (self.shift,)
        return [(v, u) for v in (VOTES if isinstance(self.vote, str) else (self.vote,)) for u in shifts]

    def without(self) -> tuple[float, float]:
        """Return v and u of a client that has no validation samples."""
        return WITHOUT if isinstance(self.vote, str) else self.vote, 1.0 if isinstance(self.shift, str) else self.shift


def with_vote(model: Staged, cut: int, head: nn.Module, view: View, rule: Rule, val: Split, shift: Tensor) -> Staged:
    """Return a model in which a head has a vote.

    Args:
        model: The client's model; its stages are shared, not copied.
        cut: The head's cut.
        head: The head, in evaluation mode or without layers that know another one.
        view: How the federation sees representations.
        rule: v and u; what "validation" chooses has the smallest loss on the validation samples, of equals the
            smallest v, then the largest u.
        val: The validation samples; without any, v is `WITHOUT` and u is 1 where they would be chosen.
        shift: log π_k - log π, (classes,): see `label_shift`.
    """
    shallow = dict(islice(model.named_children(), cut))
    deep = nn.Sequential(*islice(model.children(), cut, None))
    answers = Vote(deep, head, view, 0.0, torch.zeros_like(shift))
    voting = Staged({**shallow, "vote": answers})
    candidates = rule.candidates()
    if len(candidates) == 1 or not len(val):
        answers.share, strength = rule.without()
    else:
        own, common = answered(voting, answers, val)
        corrected = {u: shifted(common, u * shift) for u in {u for _, u in candidates}}
        tried = (((v, u), mixed(own, corrected[u], v)) for v, u in candidates)
        answers.share, strength = least_loss(tried, val.labels)
    answers.shift = strength * shift
    return voting


def shifted(answers: Tensor, shift: Tensor) -> Tensor:
    """Return probabilities (n, classes) whose logits a shift (classes,) was added to."""
    moved = answers * shift.exp()
    return moved / moved.sum(1, keepdim=True)
