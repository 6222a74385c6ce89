"""What one client sees in one round, and what it hands back."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from fedpers import seeds
from fedpers.config.keys import Config
from fedpers.data.shards import ClientData
from fedpers.learning.optimizers import PREFIX, remembered, remind
from fedpers.learning.recipe import PLAIN, Recipe
from fedpers.models.staged import Staged
from fedpers.training import Objective, Split, cross_entropy, fit

State = dict[str, torch.Tensor]
"""Tensors by name: a model's keys, and extras under a prefix that names their kind ("prototypes/mean")."""


@dataclass(frozen=True)
class Update:
    """What a client's training hands back.

    Args:
        send: Leaves the client.
        keep: Becomes the client's state, once its reply has arrived; it never leaves the client.
        metrics: Figures of this training, written down by name.
    """

    send: State
    keep: State
    metrics: dict[str, float]


def checked(update: Any) -> Update:
    """Return what a client half's `train` gave, if it is an Update of tensors and numbers.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(update, Update):
        raise TypeError(f"`train` returned a {type(update).__name__}, not an Update")
    for what, tensors in (("send", update.send), ("keep", update.keep)):
        for name, value in tensors.items():
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"`train` returned {what}[{name!r}], a {type(value).__name__}, not a tensor")
    for name, figure in update.metrics.items():
        if isinstance(figure, bool) or not isinstance(figure, int | float):
            raise TypeError(f"`train` returned metrics[{name!r}], a {type(figure).__name__}, not a number")
    return update


@dataclass(frozen=True)
class Task:
    """What one client sees in one round.

    Args:
        config: The run's configuration.
        round: The round, counted from 1.
        client: The client's number (Flower's partition id).
        data: Its train, validation and test samples.
        initial: The initial weights that all clients share; not to be changed.
        model: Initial weights, overlaid by received ones, overlaid by what this client kept. It may be trained in
            place.
        received: Everything that the server sent.
        state: This client's memory after its last successful round; empty at first.
        personal_keys: Keys of the model that stay with the client, by the algorithm or by the BatchNorm policy.
        work: The share of its mini-batches that the client has time for, in whatever it trains by `fit`.
        recipe: How it trains besides: optimizer, schedule, augmentation.
        remembered: What its optimizers remember by now, to be kept; `fit` puts it down.
        fits: How often it has trained, by purpose.
    """

    config: Config
    round: int
    client: int
    data: ClientData
    initial: State
    model: Staged
    received: State
    state: State
    personal_keys: frozenset[str]
    work: float = 1.0
    recipe: Recipe = PLAIN
    remembered: State = field(default_factory=dict)
    fits: Counter[str] = field(default_factory=Counter)

    def is_personal(self, key: str) -> bool:
        """Tell whether a key of the model stays with the client."""
        return key in self.personal_keys

    def generator(self, purpose: str) -> torch.Generator:
        """Return this client's random stream for one purpose in this round."""
        return seeds.torch_generator(self.config.seed, purpose, round=self.round, client=self.client)

    def fit(
        self,
        objective: Objective = cross_entropy,
        *,
        data: Split | None = None,
        epochs: int | None = None,
        parameters: list[torch.Tensor] | None = None,
        purpose: str = "train",
        clip_norm: float | None = None,
    ) -> float:
        """Train `model` by the run's optimizer, on `data` or the training samples; see `fedpers.training.fit`.

        Training samples are augmented, others are not.
        """
        config, recipe = self.config, self.recipe
        trained = list(self.model.parameters()) if parameters is None else parameters
        optimizer = recipe.make(trained, config, self.round)
        prefix = f"{PREFIX}{purpose}/{self.fits[purpose]}/"
        self.fits[purpose] += 1
        if recipe.keeps:
            remind(optimizer, self.state, prefix)
        loss = fit(
            self.model,
            self.data.train if data is None else data,
            epochs=config.local_epochs if epochs is None else epochs,
            batch_size=config.batch_size,
            optimizer=optimizer,
            generator=self.generator(purpose),
            objective=objective,
            clip_norm=clip_norm,
            mixed=config.precision == "bf16",
            share=self.work,
            accumulate=config.accumulate,
            augment=self._augment(purpose) if data is None and recipe.augment else None,
        )
        if recipe.keeps:
            self.remembered.update(remembered(optimizer, prefix))
        return loss

    def _augment(self, purpose: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what becomes of a batch of training images."""
        assert self.recipe.augment is not None
        change, stream = self.recipe.augment, self.generator(f"augment {purpose}")
        black = (-self.data.mean / self.data.std).flatten().to(self.data.device)
        return lambda images: change(images, black, stream)

    @property
    def lr(self) -> float:
        """The learning rate of the round."""
        return self.recipe.lr(self.config, self.round)

    @cached_property
    def keys(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The model's shared keys and its personal keys."""
        names = self.model.tensors().keys()
        personal = tuple(name for name in names if name in self.personal_keys)
        return tuple(name for name in names if name not in self.personal_keys), personal

    def shared(self) -> State:
        """Return the part of the model's state that may leave the client."""
        state = self.model.tensors()
        return {key: state[key] for key in self.keys[0]}

    def personal(self) -> State:
        """Return the part of the model's state that stays with the client."""
        state = self.model.tensors()
        return {key: state[key] for key in self.keys[1]}
