"""The Flower ClientApp: from a message and a client's context to a Task, and from its Update to a reply.

A client's memory is replaced only when everything else has succeeded; engines keep the old one when a client raises.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedpers.algorithm import State, Task
from fedpers.assembly import open_run, read_config
from fedpers.config.keys import Config
from fedpers.data.shards import Shards
from fedpers.wire import records
from fedpers.worker import Worker

app = ClientApp()
_thread = threading.local()


def run_config(config: Config, shards: Shards) -> records.RunConfig:
    """Return what clients find in `context.run_config`: the configuration, and where its data lie prepared."""
    return {records.RUN_CONFIG: config.to_json(), records.PREPARED: str(shards.folder.resolve())}


def open_settings(settings: Mapping[str, Any]) -> tuple[Config, Shards]:
    """Return configuration and data of a run config; a machine that has not got the data prepares them."""
    text, folder = str(settings[records.RUN_CONFIG]), str(settings.get(records.PREPARED, ""))
    if folder and (Path(folder) / "manifest.json").is_file():
        return read_config(text), Shards(Path(folder))
    return open_run(text)


class Desk:
    """A thread's worker, and what it has unpacked of the round's messages: what all clients are sent, once.

    Args:
        worker: The worker.
    """

    def __init__(self, worker: Worker) -> None:
        """Start with nothing unpacked."""
        self.worker = worker
        self._record: ArrayRecord | None = None
        self._shared: State = {}

    def train(self, message: Message, context: Context) -> Message:
        """Train one client for one round; its memory changes last."""
        start = time.perf_counter()
        task = self.task(message, context)
        update = self.worker.train(task)
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

    def evaluate(self, message: Message, context: Context) -> Message:
        """Score a client's models on its own validation and test samples; nothing is remembered."""
        start = time.perf_counter()
        task = self.task(message, context)
        scores = self.worker.score(task, self.shared(message.content))
        metrics: dict[str, records.Figure] = {
            **scores,
            records.NUM_EXAMPLES: int(scores["personal/test/num_examples"]),
            records.SECONDS: time.perf_counter() - start,
        }
        return Message(RecordDict({records.METRICS: MetricRecord(metrics)}), reply_to=message)

    def deployed(self, message: Message, context: Context) -> Message:
        """Hand over the model that is deployed on the client, so that it can be kept."""
        stages, tensors = self.worker.deployed(self.task(message, context))
        content = RecordDict(
            {
                records.ARRAYS: records.to_record(tensors),
                records.CONFIG: ConfigRecord({records.STAGES: json.dumps(stages)}),
            }
        )
        return Message(content, reply_to=message)

    def task(self, message: Message, context: Context) -> Task:
        """Return the task of a message."""
        arrays = records.select(message.content, ArrayRecord)
        saved = records.select(context.state, ArrayRecord).get(records.STATE)
        own = self._tensors(arrays[records.OWN]) if records.OWN in arrays else {}
        return self.worker.task(
            client=int(context.node_config[records.PARTITION_ID]),
            round=records.round_of(message.content),
            received=self.shared(message.content) | own,
            state=self._tensors(saved) if saved else {},
        )

    def shared(self, content: RecordDict) -> State:
        """Return what all clients are sent."""
        record = records.select(content, ArrayRecord).get(records.ARRAYS)
        if record is None:
            return {}
        if record is not self._record:
            self._record, self._shared = record, self._tensors(record)
        return self._shared

    def _tensors(self, record: ArrayRecord) -> State:
        return records.from_record(record, self.worker.device)


def desk_of(settings: records.RunConfig) -> Desk:
    """Return this thread's desk for a run, after making it if the thread has served another run so far.

    Whatever the engine, a client trains on one PyTorch thread: how many there are may change the last bits of a sum.
    """
    key = (str(settings[records.RUN_CONFIG]), str(settings.get(records.PREPARED, "")))
    if getattr(_thread, "key", None) != key:
        torch.set_num_threads(1)
        _thread.desk, _thread.key = Desk(Worker(*open_settings(settings))), key
    desk: Desk = _thread.desk
    return desk


def _staying(call: Callable[[Message, Context], Message], message: Message, context: Context) -> Message:
    """Call a client; one that would end the process ends its own call alone."""
    try:
        return call(message, context)
    except SystemExit as error:
        raise RuntimeError(f"the client called sys.exit({error.code!r})") from error


@app.query()
def query(message: Message, context: Context) -> Message:
    """Answer the roll call with the client's number."""
    metrics = MetricRecord({records.PARTITION_ID: int(context.node_config[records.PARTITION_ID])})
    return Message(RecordDict({records.METRICS: metrics}), reply_to=message)


@app.query(records.DEPLOYED)
def deployed(message: Message, context: Context) -> Message:
    """Hand over one client's deployed model."""
    return _staying(desk_of(context.run_config).deployed, message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one client for one round."""
    return _staying(desk_of(context.run_config).train, message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score one client."""
    return _staying(desk_of(context.run_config).evaluate, message, context)
