"""What the clients served by one thread have in common: the model, the initial weights, the prepared data.

So a worker builds a model once, not once a client.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fedpers.algorithm import Algorithm, State, Task, Update
from fedpers.assembly import (
    build_algorithm,
    build_attack,
    build_faults,
    build_model,
    build_privacy,
    build_recipe,
    model_specs,
    personal_keys,
)
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.device import open_device
from fedpers.faults.base import WORK
from fedpers.models.batch_norm import reestimate_statistics
from fedpers.models.described import describe
from fedpers.models.staged import Staged
from fedpers.scoring import Metric, measure, resolve_metrics
from fedpers.task import checked
from fedpers.training import score


@dataclass(frozen=True)
class Loadable:
    """A model whose weights are set again for every client.

    Args:
        model: The model.
        tensors: Its state, aliasing the model's memory.
        initial: Its initial state.
        personal: The keys of its state that stay with their client.
    """

    model: Staged
    tensors: State
    initial: State
    personal: frozenset[str]

    @classmethod
    def of(cls, model: Staged, personal: frozenset[str]) -> "Loadable":
        """Remember a model's initial state."""
        tensors = model.state_dict()
        return cls(model, tensors, {key: tensor.clone() for key, tensor in tensors.items()}, personal)

    @torch.no_grad()
    def load(self, received: State, state: State) -> Staged:
        """Set the model to the initial weights, overlaid by received ones, overlaid by the client's own."""
        for key, tensor in self.tensors.items():
            tensor.copy_(state[key] if key in state else received.get(key, self.initial[key]))
        return self.model

    def is_complete(self, received: State) -> bool:
        """Tell whether the server sent a complete model."""
        return all(key in received for key in self.tensors)


class Worker:
    """Serves one client after the other.

    Args:
        config: The configuration.
        shards: Its prepared data.
        algorithm: The algorithm; without it, the one of the configuration.
    """

    def __init__(self, config: Config, shards: Shards, algorithm: Algorithm | None = None) -> None:
        """Build the models, on the device, and the algorithm."""
        self.config, self.shards, self.device = config, shards, open_device(config.device)
        self.algorithm = algorithm or build_algorithm(config)
        self.faults, self.attack, self.privacy = build_faults(config), build_attack(config), build_privacy(config)
        self.recipe = build_recipe(config)
        self._attackers = config.attackers(shards.num_clients)
        self.metrics = resolve_metrics(config.metrics, config.plugins)
        models = (build_model(config, shards, number).to(self.device) for number in range(len(model_specs(config))))
        self._models = [Loadable.of(model, personal_keys(self.algorithm, model, config)) for model in models]

    def task(self, client: int, round: int, received: State, state: State) -> Task:
        """Return what a client sees, its model loaded.

        Args:
            client: The client's number.
            round: The round, counted from 1.
            received: Everything that the server sent, on the worker's device.
            state: The client's memory, likewise.
        """
        loadable = self.loadable(client)
        return Task(
            config=self.config,
            round=round,
            client=client,
            data=self.shards.client(client, self.device),
            initial=loadable.initial,
            model=loadable.load(received, state),
            received=received,
            state=state,
            personal_keys=loadable.personal,
            recipe=self.recipe,
        )

    def loadable(self, client: int) -> Loadable:
        """Return the model of a client's architecture."""
        return self._models[client % len(self._models)]

    def train(self, task: Task) -> Update:
        """Train one client for one round, with as much work as it has time for; an attacker poisons what it sends.

        Raises:
            TypeError: the algorithm hands back what is no Update.
        """
        work = self.faults.fate(self.config.seed, task.round, task.client).work
        task = task if work == 1 else dataclasses.replace(task, work=work)
        if self.attack is None or task.client not in self._attackers:
            update = checked(self.algorithm.train(task))
            if self.privacy:
                update = dataclasses.replace(update, send=self.privacy.at_client(task, update.send))
        else:
            update = checked(self.algorithm.train(self.attack.before(task)))
            update = dataclasses.replace(update, send=self.attack.after(task, update.send))
        if task.remembered:
            update = dataclasses.replace(update, keep=update.keep | task.remembered)
        return update if work == 1 else dataclasses.replace(update, metrics=update.metrics | {WORK: work})

    def score(self, task: Task, shared: State) -> dict[str, float]:
        """Return "model/split/metric" for the personal, the global and the fine-tuned model, as far as they exist.

        Args:
            task: The client's.
            shared: What all clients are sent: the global model, where it is complete.
        """
        personal = self._personal(task)
        scores = _score("personal", personal, task, self.metrics)
        if self.config.finetune_epochs:
            tuned = dataclasses.replace(task, model=personal)
            tuned.fit(epochs=self.config.finetune_epochs, purpose="finetune")
            scores |= _score("finetuned", personal, task, self.metrics)
        loadable = self.loadable(task.client)
        if loadable.is_complete(shared):
            plain = type(self.algorithm).personalize is Algorithm.personalize
            if plain and not task.state and len(task.received) == len(shared):
                same = {key: value for key, value in scores.items() if key.startswith("personal/")}
                scores |= {key.replace("personal", "global", 1): value for key, value in same.items()}
            else:
                scores |= _score("global", loadable.load(shared, {}), task, self.metrics)
        return scores

    def _personal(self, task: Task) -> Staged:
        """Return the model that the algorithm deploys on the client."""
        model: Any = self.algorithm.personalize(task)
        if not isinstance(model, Staged):
            raise TypeError(f"`personalize` returned a {type(model).__name__}, not a Staged")
        return model

    def deployed(self, task: Task) -> tuple[list[Any], State]:
        """Return the model that the algorithm deploys on the client, as plain values and tensors (`describe`).

        Raises:
            TypeError: it holds something that no file can hold.
        """
        model = self._personal(task)
        if self.config.batch_norm == "reset":
            reestimate_statistics(model, task.data.train, self.config.batch_size)
        return describe(model, self.loadable(task.client).model)


def _score(name: str, model: Staged, task: Task, metrics: Mapping[str, Metric]) -> dict[str, float]:
    if task.config.batch_norm == "reset":
        reestimate_statistics(model, task.data.train, task.config.batch_size)
    figures: dict[str, float] = {}
    for split, data in (("val", task.data.val), ("test", task.data.test)):
        if len(data):
            values = measure(score(model, data), data.labels, metrics)
            figures |= {f"{name}/{split}/{key}": value for key, value in values.items()}
    return figures
