"""The contract of attacks: an attacker sees one client's task and update, and changes what it learns from or sends."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fedpers.errors import Refusing
from fedpers.task import State, Task


@dataclass(frozen=True)
class Attack(Refusing):
    """Attackers that do as everybody does.

    Who they are is drawn once from the clients that may train. They are scored like all, and counted apart.

    Args:
        share: The share of clients that are attackers; at least one is.
    """

    group = "attack"

    share: float

    def __post_init__(self) -> None:
        """Check the range."""
        self.require("share", 0 < self.share < 1, "a share in (0, 1)")

    def before(self, task: Task) -> Task:
        """Return what an attacker trains on; it is scored on what it really has."""
        return task

    def after(self, task: Task, sent: State) -> State:
        """Return what an attacker sends in the place of what it should; names, types and shapes are the same."""
        return sent


def changed(task: Task, sent: State, poison: Callable[[Tensor], Tensor]) -> State:
    """Return what is sent with the client's change poisoned: of what it was sent, the difference; of others, all.

    Whole numbers (labels, counts) stay as they are.
    """
    start = task.initial | task.received
    return {
        name: value
        if not value.is_floating_point()
        else (start[name].to(value) + poison(value - start[name].to(value)) if name in start else poison(value))
        for name, value in sent.items()
    }
