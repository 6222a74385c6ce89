"""Shared weights: the stages that take part in the federation are averaged, the ones that were dropped are not.

    w_i = Σ_k (n_k / n) w_{k,i}   for stages i <= c_t, over the clients of the round

A client loads the averages of the stages before the active cut before it trains and before it is scored. A stage that
has been dropped keeps the client's own weights from then on; the server remembers its last average for clients that it
has never heard of. The paper, as we read it, has none of this: it is our second reading of "dropped".
"""

import torch

from fedpers.algorithm import State, Task, weights_of
from fedpers.models.staged import Staged
from strategies.parts.personal_layers import keys_of


def before(model: Staged, weights: State, cut: int) -> State:
    """Return the entries of stages 1 ... cut among some of a model's weights."""
    taking_part = keys_of(model, model.stage_names[:cut])
    return {key: tensor for key, tensor in weights.items() if key in taking_part}


@torch.no_grad()
def load_averages(task: Task, cut: int) -> None:
    """Set the stages of a client's model before a cut to the averages that the server sent, where it sent any.

    What the BatchNorm policy keeps at home is never sent and stays as it is.
    """
    tensors = task.model.tensors()
    for key, average in before(task.model, weights_of(task.received), cut).items():
        tensors[key].copy_(average)
