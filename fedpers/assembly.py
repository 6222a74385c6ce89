"""From a configuration to what a run is made of: model, data, algorithm, and what the server knows of them."""

import copy
import logging
import shlex
import threading
from functools import lru_cache
from typing import TypeVar

import torch
from torch import nn

from fedpers import seeds
from fedpers.aggregation import Aggregation
from fedpers.algorithm import Algorithm, Federation
from fedpers.attacks import Attack
from fedpers.config.build import build, resolve
from fedpers.config.keys import Config, Spec
from fedpers.data.prepare import prepare
from fedpers.data.shards import Shards
from fedpers.data.sources import code_of_data
from fedpers.device import open_device
from fedpers.errors import UserError
from fedpers.faults import Faults
from fedpers.given import given_to
from fedpers.learning import Augment, EarlyStop, Optimizer, Recipe, Schedule
from fedpers.models.batch_norm import layer_keys, local_keys
from fedpers.models.dropout import drawing_from, with_own_streams
from fedpers.models.initial import load_weights
from fedpers.models.staged import Staged
from fedpers.models.wrapped import as_stages
from fedpers.privacy import Privacy
from fedpers.scoring import check_metrics

_building = threading.Lock()
log = logging.getLogger(__name__)


def read_config(text: str) -> Config:
    """Read a configuration: JSON, or what one would write on the command line ("strategy=fedd2s rounds=3")."""
    if text.startswith("{"):
        return Config.from_json(text)
    from fedpers.config.compose import compose_config

    return compose_config(shlex.split(text))


def open_run(text: str) -> tuple[Config, Shards]:
    """Read a configuration and open its data; a process opens the same data once, whatever else is configured.

    Data that may be others every time (a plugin without `root`) are loaded again.
    """
    config = read_config(text)
    data, code = config.for_data(), code_of_data(config)
    with _building:
        return config, prepare(data) if code is None else _open_data(data.to_json(), code)


@lru_cache(maxsize=64)
def _open_data(text: str, code: str) -> Shards:  # noqa: ARG001 - a plugin may be loaded anew
    return prepare(Config.from_json(text))


def model_specs(config: Config) -> list[Spec]:
    """Return the architectures: client k owns number k modulo their count. All but `model=mixed` have just one."""
    return list(config.model["mixture"]) if "mixture" in config.model else [config.model]


def build_model(config: Config, shards: Shards, client: int = 0) -> Staged:
    """Build a client's model with the initial weights that all clients of its architecture share."""
    specs = model_specs(config)
    with _building, seeds.seeded_initialization(config.seed, "model"):
        spec, known = specs[client % len(specs)], {"shape": shards.shape, "num_classes": shards.num_classes}
        made: nn.Module = build(spec, "model", plugins=config.plugins, returns=nn.Module, **known)
    model = as_stages(made)
    with_own_streams(model)
    if config.init:
        load_weights(model, config.init)
    return model.to(memory_format=torch.channels_last)


def build_algorithm(config: Config) -> Algorithm:
    """Build the algorithm."""
    algorithm: Algorithm = build(config.strategy, "strategy", plugins=config.plugins, returns=Algorithm)
    return algorithm


def build_faults(config: Config) -> Faults:
    """Build what goes wrong on purpose."""
    return _optional(config, "faults", Faults) or Faults()


def build_attack(config: Config) -> Attack | None:
    """Build what attackers do; None where nobody attacks."""
    return _optional(config, "attack", Attack)


def build_aggregation(config: Config) -> Aggregation:
    """Build how the server averages."""
    return _optional(config, "aggregation", Aggregation) or Aggregation()


def build_privacy(config: Config) -> Privacy | None:
    """Build what noise there is on what is shared; None where there is none."""
    return _optional(config, "privacy", Privacy)


def build_recipe(config: Config) -> Recipe:
    """Build how clients train."""
    return Recipe(
        _optional(config, "optimizer", Optimizer),
        _optional(config, "schedule", Schedule),
        _optional(config, "augment", Augment),
    )


def build_early_stop(config: Config) -> EarlyStop | None:
    """Build what ends a run early; None where nothing does."""
    return _optional(config, "early_stop", EarlyStop)


T = TypeVar("T")


def _optional(config: Config, group: str, kind: type[T]) -> T | None:
    """Build what a group names, if it names anything."""
    spec: Spec = getattr(config, group)
    made: T | None = build(spec, group, plugins=config.plugins, returns=kind) if spec else None
    return made


def personal_keys(algorithm: Algorithm, model: Staged, config: Config) -> frozenset[str]:
    """Return the keys of a model that stay with their client, by the algorithm or by the BatchNorm policy."""
    return algorithm.personal_keys(model) | local_keys(model, config.batch_norm)


def build_federation(config: Config, shards: Shards, algorithm: Algorithm) -> Federation:
    """Return what the server knows before the first round."""
    model = build_model(config, shards)
    stay = personal_keys(algorithm, model, config)
    return Federation(
        config=config,
        num_clients=shards.num_clients,
        num_classes=shards.num_classes,
        shape=shards.shape,
        model=lambda: build_model(config, shards),
        aggregation=build_aggregation(config),
        privacy=build_privacy(config),
        initial={key: tensor for key, tensor in model.state_dict().items() if key not in stay},
    )


def check(config: Config, shards: Shards) -> None:
    """Raise a UserError when the algorithm does not fit the model, or an engine, metric or figure cannot be had.

    Nothing has been written yet.
    """
    algorithm = build_algorithm(config)
    if config.init and len(model_specs(config)) > 1:
        raise UserError(
            f"init={config.init} is not possible where clients have several architectures (model.mixture). Accepted: "
            "one model"
        )
    _name_what_is_idle(algorithm, config)
    if (optimizer := build_recipe(config).optimizer) and (idle := optimizer.without_effect(config)):
        log.warning("%s has no effect with optimizer.name=%s", " and ".join(idle), optimizer.name)
    models = [build_model(config, shards, number) for number in range(len(model_specs(config)))]
    for model in models:
        algorithm.check(model, config)
        if model.stage_names != models[0].stage_names:
            raise UserError(
                f"model.mixture has stages {', '.join(models[0].stage_names)} and {', '.join(model.stage_names)}. "
                "Accepted: models whose stages have the same names"
            )
        if len(models) > 1 and model.state_dict().keys() - algorithm.personal_keys(model):
            raise UserError(
                f"strategy={config.choices.get('strategy')} shares weights, which clients of several architectures "
                "(model.mixture) cannot. Accepted: a strategy that keeps all weights on the clients, or one model"
            )
    for model in models:
        _check_batches(model, config, shards)
    _check_federation(config, algorithm, models[0], shards)
    engine = build(config.engine, "engine", plugins=config.plugins)
    if getattr(engine, "runs_here", False):
        open_device(config.device)
    if (objects := given_to(config)) and not getattr(engine, "takes_objects", True):
        raise UserError(
            f"engine={config.choices.get('engine')} cannot be given {', '.join(sorted(objects))}, which is an object "
            "of this program. Accepted: engine=local or engine=ray, or a class or function in a module of its own"
        )
    keeps = keeps_state(config)
    if config.checkpoint_every and not keeps:
        raise UserError(
            f"checkpoint_every={config.checkpoint_every} is not possible with engine={config.choices.get('engine')}, "
            "whose clients keep their memory to themselves. Accepted: null, or engine=local or engine=ray"
        )
    if build_early_stop(config) and not (config.eval_every and config.splits[1]):
        raise UserError(
            f"early_stop={config.choices.get('early_stop')} sees no validation accuracy with eval_every="
            f"{config.eval_every} splits={config.splits}. Accepted: eval_every of at least 1, and a validation split"
        )
    check_metrics(config.metrics, config.plugins, shards.num_classes)
    for number, path in enumerate(config.figures):
        resolve(path, f"figures[{number}]", config.plugins)


def _check_batches(model: Staged, config: Config, shards: Shards) -> None:
    """Raise a UserError where a client would train on single samples, and the model's BatchNorm cannot.

    It cannot where a feature map has come down to a single point: there is nothing to normalize over.
    """
    sizes = shards.split_sizes[:, 0]
    if (config.batch_size > 1 and sizes.min() > 1) or not layer_keys(model):
        return
    try:
        with drawing_from(torch.Generator()):
            copy.deepcopy(model).train()(torch.zeros(1, *shards.shape))
    except ValueError as error:
        where = "batch_size=1" if config.batch_size == 1 else f"client {int(sizes.argmin())} with one training sample"
        raise UserError(
            f"{where} is not possible with this model's BatchNorm ({error}). Accepted: batches of at least 2, or a "
            "model without BatchNorm, e.g. model.norm=group"
        ) from error


def _check_federation(config: Config, algorithm: Algorithm, model: Staged, shards: Shards) -> None:
    """Raise a UserError when faults, attack, aggregation or privacy are impossible or do not fit the algorithm."""
    strategy = f"strategy={config.choices.get('strategy')}"
    build_faults(config)
    build_attack(config)
    build_aggregation(config)
    if config.aggregation and not algorithm.averages:
        raise UserError(
            f"aggregation={config.choices.get('aggregation')} has nothing to average: {strategy} does not average "
            "weights with these keys. Accepted: aggregation=mean, or a strategy that does (docs/faults.md)"
        )
    sampled = config.num_sampled(shards.num_clients - len(config.unseen_clients(shards.num_clients)))
    if config.min_replies > sampled:
        raise UserError(
            f"min_replies={config.min_replies} is not possible. Accepted: at most {sampled}, the clients that are "
            "sampled in a round (participation)"
        )
    mechanism = build_privacy(config)
    if mechanism is None:
        return
    privacy = f"privacy={config.choices.get('privacy')}"
    if mechanism.kind not in algorithm.blurs:
        raise UserError(
            f"{privacy} does not cover all that {strategy} sends ({', '.join(algorithm.sends) or 'nothing'}). "
            "Accepted: privacy=none, or a strategy, or keys of it, that it covers (docs/faults.md)"
        )
    if config.aggregation:
        raise UserError(
            f"{privacy} with aggregation={config.choices.get('aggregation')} is not possible: the noise is that of a "
            "mean. Accepted: aggregation=mean"
        )
    if shared := layer_keys(model) - personal_keys(algorithm, model, config):
        raise UserError(
            f"{privacy} is not possible with {min(shared)}, which is averaged: statistics of BatchNorm are no updates. "
            "Accepted: batch_norm=local, or a model without BatchNorm, e.g. model.norm=group"
        )


def _name_what_is_idle(algorithm: Algorithm, config: Config) -> None:
    """Say which keys have been set to no effect."""
    if not (idle := algorithm.without_effect()):
        return
    from fedpers.config.compose import usual  # late: workers compose nothing

    for key, why in idle.items():
        if key in config.strategy and config.strategy[key] != usual(config, key):
            log.warning("strategy.%s=%s has no effect with strategy.%s", key, config.strategy[key], why)


def keeps_state(config: Config) -> bool:
    """Tell whether an engine lets clients' memories be written into checkpoints; Flower's own runtimes do not."""
    return bool(getattr(build(config.engine, "engine", plugins=config.plugins), "keeps_state", True))
