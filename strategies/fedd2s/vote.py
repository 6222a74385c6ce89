"""The head's vote: the head of the active cut answers beside the client's own model when the client predicts.

    p(y | x) = (1 - v) softmax(f_k(x)) + v softmax(g_c(h)),    h = s_c(...s_1(x))

f_k is the client's model, g_c the server's head at the active cut c, v the vote. The paper, as we read it, has none.
"""

from itertools import islice

from torch import Tensor, nn

from fedpers.models.staged import Staged
from fedpers.training import Split
from strategies.parts.exchange import View
from strategies.parts.mixtures import Mixture, choose_share

VALIDATION = "validation"
"""The vote that stands for a choice by every client on its validation samples."""

WITHOUT = 0.3
"""The vote of a client that has no validation samples to choose by."""

VOTES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""What a client chooses from."""


class Vote(Mixture):
    """The stages behind a cut and the head beside them; answers are log-probabilities.

    Args:
        deep: The client's stages behind the cut: representations as they are to logits.
        head: The server's head: representations as the federation sees them to logits.
        view: How the federation sees them.
        share: The vote v.
    """

    def __init__(self, deep: nn.Module, head: nn.Module, view: View, share: float) -> None:
        """Hold both; the head stands still, and is no part of what is fine-tuned."""
        super().__init__(share)
        self.deep, self._view = deep, view
        self._head = (head,)  # in a tuple, so that it is no module of the client's model

    def answers(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the client's stages and the head say of representations (n, ...): both (n, classes)."""
        return self.deep(hidden).softmax(1), self._head[0](self._view.embed(hidden)).softmax(1)


def with_vote(model: Staged, cut: int, head: nn.Module, view: View, vote: float | str, val: Split) -> Staged:
    """Return a model in which a head has a vote.

    Args:
        model: The client's model; its stages are shared, not copied.
        cut: The head's cut.
        head: The head, in evaluation mode or without layers that know another one.
        view: How the federation sees representations.
        vote: v, or "validation": the vote with the smallest loss on the validation samples, of equals the smallest;
            without samples `WITHOUT`.
        val: The validation samples.
    """
    shallow = dict(islice(model.named_children(), cut))
    deep = nn.Sequential(*islice(model.children(), cut, None))
    answers = Vote(deep, head, view, WITHOUT if isinstance(vote, str) else vote)
    voting = Staged({**shallow, "vote": answers})
    if vote == VALIDATION and len(val):
        answers.share = choose_share(voting, answers, VOTES, val)
    return voting
