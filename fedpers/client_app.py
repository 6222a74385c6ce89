"""The Flower ClientApp: from a message and a client's context to a Task, and from its Update to a reply.

One `Worker` for each thread holds what clients share: the model, the initial weights, the prepared data. So a worker
builds a model once, not once a client, and unpacks a round's arrays once. A client's memory is replaced only when
everything else has succeeded; engines keep the old one when a client raises.
"""

import dataclasses
import shlex
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedpers import records, seeds
from fedpers.build import build
from fedpers.client import Client, State, Task
from fedpers.config import Config, Spec
from fedpers.data.prepare import prepare
from fedpers.data.shards import Shards
from fedpers.device import open_device
from fedpers.models.batch_norm import local_keys, reestimate_statistics
from fedpers.models.staged import Staged
from fedpers.scoring import Metric, measure, resolve_metrics
from fedpers.training import score

app = ClientApp()
_building = threading.Lock()
_thread = threading.local()


def model_specs(config: Config) -> list[Spec]:
    """Return the architectures: client k owns number k modulo their count. All but `model=mixed` have just one."""
    return list(config.model["mixture"]) if "mixture" in config.model else [config.model]


def build_model(config: Config, shards: Shards, client: int = 0) -> Staged:
    """Build a client's model with the initial weights that all clients of its architecture share."""
    specs = model_specs(config)
    with _building, seeds.seeded_initialization(config.seed, "model"):
        model: Staged = build(
            specs[client % len(specs)],
            "model",
            plugins=config.plugins,
            shape=shards.shape,
            num_classes=shards.num_classes,
        )
    return model.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Loadable:
    """A model whose weights are set again for every client.

    Args:
        model: The model.
        tensors: Its state, aliasing the model's memory.
        initial: Its initial state.
    """

    model: Staged
    tensors: State
    initial: State

    @classmethod
    def of(cls, model: Staged) -> "Loadable":
        """Remember a model's initial state."""
        tensors = model.state_dict()
        return cls(model, tensors, {key: tensor.clone() for key, tensor in tensors.items()})

    @torch.no_grad()
    def load(self, received: State, state: State) -> Staged:
        """Set the model to the initial weights, overlaid by received ones, overlaid by the client's own."""
        for key, tensor in self.tensors.items():
            tensor.copy_(state[key] if key in state else received.get(key, self.initial[key]))
        return self.model

    def is_complete(self, received: State) -> bool:
        """Tell whether the server sent a complete model."""
        return all(key in received for key in self.tensors)


def build_client(config: Config) -> Client:
    """Build the algorithm's client half."""
    client: Client = build(config.strategy, "strategy", plugins=config.plugins)
    return client


@lru_cache(maxsize=64)
def _open_data(text: str) -> Shards:
    return prepare(Config.from_json(text))


def read_config(text: str) -> Config:
    """Read a configuration: JSON, or what one would write on the command line ("strategy=fedd2s rounds=3")."""
    if text.startswith("{"):
        return Config.from_json(text)
    from fedpers.compose import compose_config

    return compose_config(shlex.split(text))


def open_settings(settings: Mapping[str, Any]) -> tuple[Config, Shards]:
    """Return configuration and data of a run config; a machine that has not got the data prepares them."""
    text, folder = str(settings[records.RUN_CONFIG]), str(settings.get(records.PREPARED, ""))
    if folder and (Path(folder) / "manifest.json").is_file():
        return read_config(text), Shards(Path(folder))
    return open_run(text)


def open_run(text: str) -> tuple[Config, Shards]:
    """Read a configuration and open its data; a process opens the same data once, whatever else is configured."""
    config = read_config(text)
    keys = ("dataset", "partition", "shift", "splits", "public_samples", "seed", "cache", "plugins")
    with _building:
        return config, _open_data(Config(**{key: getattr(config, key) for key in keys}).to_json())


def run_config(config: Config, shards: Shards) -> records.RunConfig:
    """Return what clients find in `context.run_config`: the configuration, and where its data lie prepared."""
    return {records.RUN_CONFIG: config.to_json(), records.PREPARED: str(shards.folder.resolve())}


class Worker:
    """What the clients served by one thread have in common.

    Args:
        config: The configuration.
        shards: Its prepared data.
    """

    def __init__(self, config: Config, shards: Shards) -> None:
        """Build the model, on the device, and the client half."""
        self.config, self.shards, self.device = config, shards, open_device(config.device)
        self.client = build_client(self.config)
        self.metrics = resolve_metrics(config.metrics, config.plugins)
        self._personal: dict[str, bool] = {}
        specs = model_specs(self.config)
        models = (build_model(self.config, self.shards, number) for number in range(len(specs)))
        self._models = [Loadable.of(model.to(self.device)) for model in models]
        stay = (local_keys(loadable.model, self.config.batch_norm) for loadable in self._models)
        own = (self.client.personal_keys(loadable.model) for loadable in self._models)
        self._stay = frozenset[str]().union(*stay, *own)
        self._record: ArrayRecord | None = None
        self._received: State = {}

    def is_personal(self, key: str) -> bool:
        """Tell whether a key stays with its client, by the algorithm or by the BatchNorm policy."""
        if key not in self._personal:
            self._personal[key] = key in self._stay or self.client.is_personal(key)
        return self._personal[key]

    def task(self, message: Message, context: Context) -> Task:
        """Build the task of a message, the model loaded."""
        client = int(context.node_config[records.PARTITION_ID])
        saved = records.select(context.state, ArrayRecord).get(records.STATE)
        received, state = self._unpack(message.content), self._tensors(saved) if saved else {}
        loadable = self.loadable(client)
        return Task(
            config=self.config,
            round=records.round_of(message.content),
            client=client,
            data=self.shards.client(client, self.device),
            initial=loadable.initial,
            model=loadable.load(received, state),
            received=received,
            state=state,
            is_personal=self.is_personal,
        )

    def loadable(self, client: int) -> Loadable:
        """Return the model of a client's architecture."""
        return self._models[client % len(self._models)]

    def _unpack(self, content: RecordDict) -> State:
        """Return everything that the server sent; what all clients get is unpacked once."""
        received: State = {}
        for name, record in records.select(content, ArrayRecord).items():
            if name == records.OWN:
                received = received | self._tensors(record)
                continue
            if record is not self._record:
                self._record, self._received = record, self._tensors(record)
            received = self._received | received
        return received

    def _tensors(self, record: ArrayRecord) -> State:
        return records.from_record(record, self.device)


def worker_of(settings: records.RunConfig) -> Worker:
    """Return this thread's worker for a run, after building it if the thread has served another run so far.

    Whatever the engine, a client trains on one PyTorch thread: how many there are may change the last bits of a sum.
    """
    key = (str(settings[records.RUN_CONFIG]), str(settings.get(records.PREPARED, "")))
    if getattr(_thread, "key", None) != key:
        torch.set_num_threads(1)
        _thread.worker, _thread.key = Worker(*open_settings(settings)), key
    worker: Worker = _thread.worker
    return worker


@app.query()
def query(message: Message, context: Context) -> Message:
    """Answer the roll call with the client's number."""
    metrics = MetricRecord({records.PARTITION_ID: int(context.node_config[records.PARTITION_ID])})
    return Message(RecordDict({records.METRICS: metrics}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one client for one round; its memory changes last."""
    start = time.perf_counter()
    worker = worker_of(context.run_config)
    task = worker.task(message, context)
    update = worker.client.train(task)
    metrics: dict[str, records.Figure] = {
        **update.metrics,
        records.NUM_EXAMPLES: len(task.data.train),
        records.SECONDS: time.perf_counter() - start,
    }
    content = RecordDict({records.ARRAYS: records.to_record(update.send), records.METRICS: MetricRecord(metrics)})
    reply = Message(content, reply_to=message)
    if update.keep:
        context.state[records.STATE] = records.to_record(update.keep)
    return reply


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score a client's models on its own validation and test samples; nothing is remembered."""
    start = time.perf_counter()
    worker = worker_of(context.run_config)
    scores = _score_models(worker, message, context)
    metrics: dict[str, records.Figure] = {
        **scores,
        records.NUM_EXAMPLES: int(scores["personal/test/num_examples"]),
        records.SECONDS: time.perf_counter() - start,
    }
    return Message(RecordDict({records.METRICS: MetricRecord(metrics)}), reply_to=message)


def _score_models(worker: Worker, message: Message, context: Context) -> dict[str, float]:
    """Return "model/split/metric" for the personal, the global and the fine-tuned model, as far as they exist."""
    task = worker.task(message, context)
    personal = worker.client.personalize(task)
    scores = _score("personal", personal, task, worker.metrics)
    if worker.config.finetune_epochs:
        tuned = dataclasses.replace(task, model=personal)
        tuned.fit(epochs=worker.config.finetune_epochs, purpose="finetune")
        scores |= _score("finetuned", personal, task, worker.metrics)
    loadable = worker.loadable(task.client)
    if loadable.is_complete(task.received):
        if not task.state and type(worker.client).personalize is Client.personalize:
            same = {key: value for key, value in scores.items() if key.startswith("personal/")}
            scores |= {key.replace("personal", "global", 1): value for key, value in same.items()}
        else:
            scores |= _score("global", loadable.load(task.received, {}), task, worker.metrics)
    return scores


def _score(name: str, model: Staged, task: Task, metrics: Mapping[str, Metric]) -> dict[str, float]:
    if task.config.batch_norm == "reset":
        reestimate_statistics(model, task.data.train, task.config.batch_size)
    figures: dict[str, float] = {}
    for split, data in (("val", task.data.val), ("test", task.data.test)):
        if len(data):
            values = measure(score(model, data), data.labels, metrics)
            figures |= {f"{name}/{split}/{key}": value for key, value in values.items()}
    return figures
