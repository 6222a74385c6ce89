"""An algorithm as it is, with somebody who notes what goes in and out, and tries everything twice."""

import dataclasses
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch

from fedpers.algorithm import Aggregated, Algorithm, Federation, Purpose, Sent, Server, State, Task, Update
from fedpers.config.keys import Config
from fedpers.contract.asked import Notes, asked
from fedpers.models.staged import Staged
from fedpers.state import put_together, take_apart, to_bytes
from fedpers.wire.carrier import BringsStrategy


class Broken(Exception):
    """An algorithm does not keep the contract; the message says in a sentence how."""


@dataclass(frozen=True)
class Training:
    """One training of one client.

    Args:
        client: The client's number.
        round: The round.
        given: The client's memory before it.
        personal: The personal part of the model after it, by key.
        initial: The initial model.
        update: What it handed back.
    """

    client: int
    round: int
    given: State
    personal: State
    initial: State
    update: Update


@dataclass
class Book:
    """What was noted in one run.

    Args:
        trainings: Every training that did not fail.
        faults: What was wrong, in sentences.
        received: Names of what clients were sent.
        notes: What the server half asked its federation for.
        states: The server half's state after each round, as bytes; none for an algorithm that brings a Flower strategy.
    """

    trainings: list[Training] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    received: set[str] = field(default_factory=set)
    notes: Notes = field(default_factory=Notes)
    states: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, sentence: str) -> None:
        """Note that something was wrong."""
        with self.lock:
            self.faults.append(sentence)


@dataclass(frozen=True)
class Eyes:
    """What is tried in a run besides running it.

    Args:
        twice: Everything is done twice and must come out the same.
        rebuilt: The server half's state is taken apart and put together again after each round.
        fails: A client and a round: that training fails at its end.
    """

    twice: bool = False
    rebuilt: bool = False
    fails: tuple[int, int] | None = None


class Watched(Algorithm):
    """Passes everything on to an algorithm and notes it.

    Args:
        inner: The algorithm.
        book: Where it is noted.
        eyes: What is tried.
    """

    def __init__(self, inner: Algorithm, book: Book, eyes: Eyes) -> None:
        """Stand in front of the algorithm."""
        self.inner, self.book, self.eyes = inner, book, eyes
        self.varies = inner.varies  # type: ignore[misc]  # of the class otherwise

    @property
    def sends(self) -> tuple[str, ...]:
        """Pass it on."""
        return self.inner.sends

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Pass it on."""
        return self.inner.fault_in(sent, federation)

    def check(self, model: Staged, config: Config) -> None:
        """Pass it on."""
        self.inner.check(model, config)

    def bound_to_rounds(self, config: Config) -> str:
        """Pass it on."""
        return self.inner.bound_to_rounds(config)

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Pass it on."""
        return self.inner.personal_keys(model)

    def server(self, federation: Federation) -> Server[Any]:
        """Watch the server half, too."""
        inner = self.inner.server(asked(federation, self.book.notes))
        return WatchedServer(federation, inner, self.book, self.eyes)

    def personalize(self, task: Task) -> Staged:
        """Pass it on."""
        return self.inner.personalize(task)

    def train(self, task: Task) -> Update:
        """Train, perhaps twice, and note what was given and what came of it."""
        given, received = cloned(task.state), cloned(task.received)
        before, modes = cloned(task.model.state_dict()), [p.requires_grad for p in task.model.parameters()]
        update = self._train(task)
        if [p.requires_grad for p in task.model.parameters()] != modes:
            self.book.fault("training leaves parameters without gradients: the next client's would not be trained")
        personal = {key: w for key, w in cloned(task.model.state_dict()).items() if key in task.personal_keys}
        if self.eyes.twice:
            with torch.no_grad():
                for key, tensor in task.model.state_dict().items():
                    tensor.copy_(before[key])
            for parameter, mode in zip(task.model.parameters(), modes, strict=True):
                parameter.requires_grad_(mode)
            self._compare(task, update, self._train(dataclasses.replace(task)))
        if not same(given, task.state) or not same(received, task.received):
            self.book.fault(f"training changes what client {task.client} was given: its memory or what it received")
        with self.book.lock:
            self.book.received |= task.received.keys()
        if self.eyes.fails == (task.client, task.round):
            raise RuntimeError("the battery is empty")
        with self.book.lock:
            self.book.trainings.append(Training(task.client, task.round, given, personal, cloned(task.initial), update))
        return update

    def _train(self, task: Task) -> Update:
        update = self.inner.train(task)
        return Update(cloned(update.send), cloned(update.keep), dict(update.metrics))

    def _compare(self, task: Task, first: Update, second: Update) -> None:
        for what, one, other in (("send", first.send, second.send), ("keep", first.keep, second.keep)):
            if not same(one, other):
                self.book.fault(
                    f"client {task.client} trained twice in round {task.round} from the same task, and `{what}` differs"
                    f"{difference(one, other)}: the client half keeps something in itself or outside, or draws from an "
                    "unseeded generator"
                )


class WatchedFlower(Watched):
    """Passes on an algorithm whose server half is a Flower strategy of its own."""

    def flower_strategy(self, federation: Federation, nodes: Mapping[int, int]) -> Any:
        """Pass it on."""
        assert isinstance(self.inner, BringsStrategy)
        return self.inner.flower_strategy(federation, nodes)


def watch(algorithm: Algorithm, book: Book, eyes: Eyes) -> Watched:
    """Return an algorithm with somebody in front of it."""
    return (WatchedFlower if isinstance(algorithm, BringsStrategy) else Watched)(algorithm, book, eyes)


@dataclass(frozen=True)
class WatchedServer(Server[Any]):
    """Passes everything on to a server half and notes it.

    Args:
        inner: The server half.
        book: Where it is noted.
        eyes: What is tried.
    """

    inner: Server[Any]
    book: Book
    eyes: Eyes

    def init(self) -> Any:
        """Pass it on."""
        return self.inner.init()

    def send_to(self, state: Any, client: int, round: int, purpose: Purpose) -> State:
        """Ask, perhaps twice, and see that the question changed nothing."""
        if not self.eyes.twice:
            return self.inner.send_to(state, client, round, purpose)
        before = as_bytes(state)
        first, second = (cloned(self.inner.send_to(state, client, round, purpose)) for _ in range(2))
        if not same(first, second):
            self.book.fault(f"`send_to` answers the same question differently{difference(first, second)}")
        if as_bytes(state) != before:
            self.book.fault("`send_to` changes the server's state; a query must not")
        return second

    def aggregate(self, state: Any, round: int, sent: Mapping[int, Sent]) -> Aggregated[Any]:
        """Aggregate, perhaps twice, and see that old state and messages are as they were."""
        done = (
            self._aggregate_twice(state, round, sent) if self.eyes.twice else self.inner.aggregate(state, round, sent)
        )
        self.book.states.append(as_bytes(done.state))
        return dataclasses.replace(done, state=rebuilt(done.state)) if self.eyes.rebuilt else done

    def _aggregate_twice(self, state: Any, round: int, sent: Mapping[int, Sent]) -> Aggregated[Any]:
        before, received = as_bytes(state), {client: cloned(each.tensors) for client, each in sent.items()}
        done = self.inner.aggregate(state, round, sent)
        if as_bytes(state) != before:
            self.book.fault("`aggregate` changes the state that it was given; it returns a new one")
        if not all(same(received[client], each.tensors) for client, each in sent.items()):
            self.book.fault("`aggregate` changes what clients sent")
        if as_bytes(self.inner.aggregate(state, round, sent).state) != as_bytes(done.state):
            self.book.fault("`aggregate` makes different states of the same state and messages")
        if shares_memory(done.state, sent):
            self.book.fault("the state holds on to memory of the messages; what is kept is to be copied")
        return done

    def evaluated(self, state: Any, round: int, val_accuracy: float) -> Any:
        """Pass it on."""
        after = self.inner.evaluated(state, round, val_accuracy)
        return rebuilt(after) if self.eyes.rebuilt else after


def cloned(tensors: State) -> State:
    """Return copies of tensors."""
    return {key: tensor.detach().clone() for key, tensor in tensors.items()}


def same(first: State, second: State) -> bool:
    """Tell whether tensors are equal to the last bit, NaN included."""
    return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)


def equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Tell whether two tensors are equal to the last bit, NaN included."""
    one, other = first.detach().cpu(), second.detach().cpu()
    alike = one.shape == other.shape and one.dtype == other.dtype
    return alike and one.numpy().tobytes() == other.numpy().tobytes()


def difference(first: State, second: State) -> str:
    """Return where tensors differ, for a sentence."""
    odd = sorted(first.keys() ^ second.keys()) or sorted(key for key in first if not equal(first[key], second[key]))
    return f" in {odd[0]!r}" if odd else ""


def as_bytes(state: Any) -> bytes:
    """Return a server half's state as a file would hold it.

    Raises:
        Broken: it holds something that no file can hold.
    """
    try:
        tensors, plain = take_apart(state)
    except TypeError as error:
        raise Broken(f"the server's state cannot be kept: {error}") from error
    return json.dumps(plain).encode() + b"\n" + to_bytes(tensors)


def rebuilt(state: Any) -> Any:
    """Return a state as it comes back from files."""
    text, _, data = as_bytes(state).partition(b"\n")
    return put_together(type(state), safetensors.torch.load(data), json.loads(text))


def shares_memory(state: Any, sent: Mapping[int, Sent]) -> bool:
    """Tell whether a state holds on to the memory of messages."""
    tensors = [tensor for tensor in take_apart(state)[0].values() if tensor.numel()]
    ours = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    theirs = {t.untyped_storage().data_ptr() for each in sent.values() for t in each.tensors.values() if t.numel()}
    return bool(ours & theirs)
