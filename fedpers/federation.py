"""What a server half is told: of the federation before the first round, and of what each client sent in a round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedpers import seeds
from fedpers.aggregation import Aggregation
from fedpers.config.keys import Config
from fedpers.models.staged import Staged
from fedpers.privacy import Privacy
from fedpers.task import State


@dataclass(frozen=True)
class Sent:
    """What one client's training sent to the server.

    Args:
        tensors: What left the client; not to be changed, and to be copied before it is kept.
        num_examples: The client's training samples n_k.
    """

    tensors: State
    num_examples: int


@dataclass(frozen=True)
class Federation:
    """What the server knows before the first round.

    Args:
        config: The run's configuration.
        num_clients: Number of clients, those that never train included.
        num_classes: Number of classes in the data.
        shape: Shape of one image: channels, height, width.
        model: Builds the model with its initial weights.
        initial: The shared part of these weights.
        aggregation: How the server averages weights.
        privacy: What noise there is on what is shared, if any.
    """

    config: Config
    num_clients: int
    num_classes: int
    shape: tuple[int, int, int]
    model: Callable[[], Staged]
    initial: State
    aggregation: Aggregation = field(default_factory=Aggregation)
    privacy: Privacy | None = None

    def average(
        self,
        round: int,
        sent: Mapping[int, Sent],
        start: State,
        part: Callable[[State], State] = lambda tensors: tensors,
        *,
        plain: bool = False,
        releases: int = 1,
    ) -> State:
        """Return the mean of what clients sent, or what the run's `aggregation` or `privacy` make of it instead.

        Args:
            round: The round, counted from 1.
            sent: What clients sent, by client in ascending order: sums of floating-point numbers depend on it.
            start: What they had been sent, from which they started.
            part: Picks what is averaged of what a client sent.
            plain: Every client counts once. Otherwise by its training samples: Σ_k (n_k / n) w_k.
            releases: How often the server half averages in a round, by class or not: `privacy` shares its budget out.
        """
        states = [part(each.tensors) for each in sent.values()]
        if self.privacy:
            stream = seeds.torch_generator(self.config.seed, "privacy", round=round)
            if (noisy := self.privacy.at_server(states, start, stream, releases)) is not None:
                return noisy
        total = sum(each.num_examples for each in sent.values())
        weights = None if plain else [each.num_examples / total for each in sent.values()]
        return self.aggregation.combine(states, weights, start)

    def average_by_class(
        self, round: int, sent: Mapping[int, Sent], part: Callable[[State], State], *, releases: int = 1
    ) -> tuple[State, Tensor] | None:
        """Return the mean over clients of what they sent of each class, if `privacy` has it that a server sees no more.

        Args:
            round: The round, counted from 1.
            sent: What clients sent, by client in ascending order.
            part: Picks tensors with a row for every class (classes, ...), of zeros where a client does not hold it.
            releases: How often the server half averages in a round, by class or not: `privacy` shares its budget out.

        Returns:
            The means (known, ...) and the classes (known,) of which there are any, in ascending order; None: the server
            may see what each client sent.
        """
        if self.privacy is None:
            return None
        states = [part(each.tensors) for each in sent.values()]
        stream = seeds.torch_generator(self.config.seed, "privacy by class", round=round)
        return self.privacy.by_class(states, stream, releases)

    def sample(self, round: int) -> list[int]:
        """Return the clients that train in a round: drawn without replacement, in ascending order."""
        unseen = self.config.unseen_clients(self.num_clients)
        clients = [client for client in range(self.num_clients) if client not in unseen]
        generator = seeds.numpy_generator(self.config.seed, "sampling", round=round)
        size = self.config.num_sampled(len(clients))
        return [clients[i] for i in sorted(generator.choice(len(clients), size, replace=False))]
