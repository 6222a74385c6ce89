"""The contract, point by point. Each check raises `Broken` with a sentence that says what is wrong."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from fedpers import assembly
from fedpers.algorithm import Algorithm, State, kind_of
from fedpers.config.compose import group_choices
from fedpers.config.help import keys
from fedpers.contract.play import Backwards, Candidate, Played, play
from fedpers.contract.watched import Broken, Eyes, Training, equal, same
from fedpers.errors import UserError
from fedpers.models.batch_norm import local_keys
from fedpers.wire.carrier import BringsStrategy

Check = Callable[[Candidate, Path], None]


class NotChecked(Exception):
    """A check does not apply; the message says why."""


def require(holds: object, sentence: str) -> None:
    """Raise Broken with a sentence unless a condition holds."""
    if not holds:
        raise Broken(sentence)


def declaration(candidate: Candidate, _folder: Path) -> None:
    """It is a frozen dataclass whose fields are its YAML's keys, each explained there; its module names a source."""
    config = candidate.config()
    algorithm = candidate.algorithm()
    require(isinstance(algorithm, Algorithm), f"{type(algorithm).__name__} is no fedpers.algorithm.Algorithm")
    require(dataclasses.is_dataclass(algorithm), f"{type(algorithm).__name__} is no dataclass")
    frozen = type(algorithm).__dataclass_params__.frozen  # type: ignore[attr-defined]
    require(frozen, f"{type(algorithm).__name__} is not frozen: @dataclass(frozen=True)")
    fields = {field.name for field in dataclasses.fields(algorithm)}  # type: ignore[arg-type]
    given = set(config.strategy) - {"_target_"}
    require(fields == given, f"the YAML has the keys {sorted(given)}, the dataclass the fields {sorted(fields)}")
    path = group_choices("strategy", candidate.config_dir)[config.choices["strategy"]]
    explained = {key for key, _, _ in keys(path)}
    require(fields <= explained, f"{path.name} does not say after a # what {sorted(fields - explained)} mean")
    text = inspect.getdoc(inspect.getmodule(type(algorithm))) or ""
    require(re.search(r"https?://|trains alone", text), "the module's docstring names no source: a paper with its URL")


def scores(candidate: Candidate, folder: Path) -> None:
    """Every client is scored after every round, sampled or not, with finite losses and accuracies from 0 to 1."""
    table = play(candidate.config("finetune_epochs=1"), folder).run.scores
    for model in ("personal", "finetuned"):
        for split in ("val", "test"):
            rows = table[(table.model == model) & (table.split == split)]
            found = list(zip(rows["round"], rows.client, strict=True))
            expected = [(number, client) for number in (1, 2, 3) for client in range(4)]
            require(found == expected, f"not every client has a score of its {model} model on {split} in every round")
    require(np.isfinite(table.loss).all(), "a loss is not finite after three rounds of a small federation")
    require(table.accuracy.between(0, 1).all(), "an accuracy lies outside 0 to 1")
    sampled = table.groupby("round").apply(lambda rows: rows[rows.sampled].client.nunique()).tolist()
    require(sampled == [3, 3, 3], f"three clients are sampled in each round, {sampled} trained")


def repeatable(candidate: Candidate, folder: Path) -> None:
    """The same seed gives the same bits on one thread and on two; another seed gives others."""
    config = candidate.config("finetune_epochs=1")
    first = play(config, folder)
    require(play(config, folder).files == first.files, "two runs with one seed differ: something is not seeded")
    both = play(config, folder, num_threads=2)
    require(both.files == first.files, "two threads give other numbers than one: clients share something")
    other = play(dataclasses.replace(config, seed=config.seed + 1), folder)
    require(other.files != first.files, "another seed gives the same numbers")


def order(candidate: Candidate, folder: Path) -> None:
    """The order in which clients are called changes nothing."""
    config = candidate.config()
    forwards, backwards = play(config, folder), play(config, folder, grid=Backwards)
    for one in forwards.book.trainings:
        other = _of(backwards, one.client, one.round)
        require(
            same(one.update.send, other.update.send) and same(one.update.keep, other.update.keep),
            f"the update of client {one.client} in round {one.round} depends on the order in which clients are called",
        )
    require(forwards.book.states == backwards.book.states, "the server's state depends on the order of clients")
    require(forwards.files == backwards.files, "scores depend on the order in which clients are called")


def memory(candidate: Candidate, folder: Path) -> None:
    """A client is given what it last kept; a training that fails costs that client that round, and nothing else."""
    config = candidate.config("participation=1")
    played = play(config, folder, Eyes(fails=(1, 2)))
    for client in range(4):
        kept: State = {}
        for number in (1, 2, 3):
            if (client, number) == (1, 2):
                continue
            training = _of(played, client, number)
            require(same(training.given, kept), f"client {client} is not given in round {number} what it last kept")
            kept = training.update.keep
    table = played.run.scores
    lost = table[(table["round"] == 2) & (table.client == 1)]
    require(len(lost) and not lost.sampled.any(), "a client whose training failed is not scored, or counts as sampled")
    require(table[table["round"] == 3].sampled.all(), "a client whose training failed once is left out afterwards")


def client_half(candidate: Candidate, folder: Path) -> None:
    """The client half is a function of its task: trained twice from the same task, it gives the same update."""
    config = candidate.config("finetune_epochs=1")
    _no_faults(play(config, folder, Eyes(twice=True)))


def server_half(candidate: Candidate, folder: Path) -> None:
    """The server half is a function of state and messages, and its state can be kept in files and brought back."""
    config = candidate.config()
    if isinstance(candidate.algorithm(), BringsStrategy):
        raise NotChecked("its server half is a Flower strategy, which keeps its state in itself")
    _no_faults(play(config, folder, Eyes(twice=True)))
    kept, brought_back = play(config, folder), play(config, folder, Eyes(rebuilt=True))
    require(kept.book.states == brought_back.book.states, "a state that was kept in files goes on differently")
    require(kept.files == brought_back.files, "scores differ once the server's state was kept in files")


def resumable(candidate: Candidate, folder: Path) -> None:
    """A run that is stopped and goes on from its checkpoint gives the same bits as one that never stopped."""
    config = candidate.config()
    whole, in_parts = play(config, folder), play(config, folder, stopped_after=1)
    require(whole.files == in_parts.files, "scores differ once a run has been stopped and has gone on")
    require(whole.book.states == in_parts.book.states, "the server's state differs once a run has gone on")


def kinds(candidate: Candidate, folder: Path) -> None:
    """What leaves a client, and what it is sent, is of the kinds, and of the shapes, that the algorithm declares."""
    algorithm, played = candidate.algorithm(), play(candidate.config(), folder)
    for training in played.book.trainings:
        for key in training.update.send:
            require(
                kind_of(key) in algorithm.sends,
                f"client {training.client} sends {key!r} of kind {kind_of(key)!r}, but the algorithm declares "
                f"sends = {algorithm.sends}",
            )
    for key in sorted(played.book.received):
        require(
            kind_of(key) in algorithm.receives,
            f"clients are sent {key!r} of kind {kind_of(key)!r}, but the algorithm declares "
            f"receives = {algorithm.receives}",
        )
    play(candidate.config(), folder, gated=True)


def services(candidate: Candidate, folder: Path) -> None:
    """It averages by the federation if it says so, and what it says that `privacy` covers gives nothing else away."""
    algorithm, averages = candidate.algorithm(), play(candidate.config(), folder).book.notes.weights
    require(
        averages == algorithm.averages,
        f"its server half {'averages' if averages else 'never averages'} by self.federation.average, but "
        f"the algorithm declares averages = {algorithm.averages}",
    )
    for name in algorithm.blurs:
        noisy = play(candidate.config(f"privacy={name}"), folder).book
        first = noisy.trainings[0].update.send
        declared = f"but the algorithm declares blurs = {algorithm.blurs}"
        for training in noisy.trainings:
            for key, sent in training.update.send.items():
                # numbers, or their mean, are blurred; whole numbers and shapes say nothing if they are the same for all
                alike = key in first and first[key].shape == sent.shape
                blurred = sent.is_floating_point() and (name == "local" or key in noisy.notes.averaged)
                require(
                    alike and (blurred or (not sent.is_floating_point() and equal(first[key], sent))),
                    f"client {training.client} sends {key!r}, which privacy={name} does not cover, {declared}",
                )
        if name == "central":
            spent = max(noisy.notes.budget.values(), default=0)
            require(
                spent < 1.0001,
                f"its server half averages {spent:g} times a round, and privacy=central counts one, {declared}; "
                "releases=N says how often it does",
            )


def personal(candidate: Candidate, folder: Path) -> None:
    """Personal tensors never leave their client: under their own name never, as copies only where that is declared."""
    _personal_stays(candidate.algorithm(), play(candidate.config(), folder).book.trainings, frozenset())


def batch_norm(candidate: Candidate, folder: Path) -> None:
    """Under every BatchNorm policy a model with BatchNorm is trained, and what the policy keeps at home stays there."""
    small = ("model=resnet18", "model.norm=batch", "model.width=4", "rounds=2", "partition.max_samples=60")
    for policy in ("aggregate", "local", "reset"):
        config = candidate.config(*small, f"batch_norm={policy}")
        try:
            played = play(config, folder)
        except UserError as error:
            raise NotChecked(f"it does not fit a ResNet with BatchNorm: {error}") from error
        require(played.run.scores.loss.notna().all(), f"a loss is NaN under batch_norm={policy}")
        _, shards = assembly.open_run(config.to_json())
        strict = local_keys(assembly.build_model(config, shards), policy)
        _personal_stays(candidate.algorithm(), played.book.trainings, strict, f" under batch_norm={policy}")


def unseen(candidate: Candidate, folder: Path) -> None:
    """Clients that never train are scored like all others, and never train."""
    run = play(candidate.config("unseen=0.25", "rounds=2"), folder).run
    (client,) = run.unseen
    rows = run.scores[(run.scores.client == client) & (run.scores.model == "personal")]
    require(len(rows) == 4, f"client {client}, which never trains, is not scored after every round")
    require(rows.loss.notna().all(), f"client {client}, which never trains, has a loss of NaN")
    train = run.traffic[(run.traffic.phase == "train") & (run.traffic.direction == "up")]
    require(client not in set(train.client), f"client {client} trains although it never should")


def device(candidate: Candidate, folder: Path) -> None:
    """On a GPU, or an emulated one, no operation mixes two devices, and numbers agree with the CPU's."""
    name, tolerance = "cuda", 1e-3
    if not torch.cuda.is_available():
        try:
            from fedpers import emulated
        except ImportError as error:
            raise NotChecked("this PyTorch has no devices written in Python") from error
        name, tolerance = emulated.NAME, 1e-4
    config = candidate.config("model=cnn", "rounds=2", "finetune_epochs=1")
    here = play(config, folder).run.scores
    there = play(dataclasses.replace(config, device=name), folder).run.scores
    gap = float((there.loss - here.loss).abs().max())
    require(gap < tolerance, f"losses on the device {name} are {gap:.2g} away from the CPU's")


CHECKS: tuple[Check, ...] = (
    declaration,
    scores,
    repeatable,
    order,
    memory,
    client_half,
    server_half,
    resumable,
    kinds,
    services,
    personal,
    batch_norm,
    unseen,
    device,
)


def _of(played: Played, client: int, number: int) -> Training:
    found = [t for t in played.book.trainings if (t.client, t.round) == (client, number)]
    require(found, f"client {client} did not train in round {number}")
    return found[0]


def _no_faults(played: Played) -> None:
    for sentence in played.book.faults:
        raise Broken(sentence)


def _personal_stays(
    algorithm: Algorithm, trainings: Iterable[Training], strict: frozenset[str], where: str = ""
) -> None:
    """Raise Broken when a personal tensor is among what was sent.

    Args:
        algorithm: Says under which prefixes copies of personal tensors may leave.
        trainings: What was sent.
        strict: Keys of which not even a declared copy may leave.
        where: The circumstances, for the sentence.
    """
    for training in trainings:
        trained = {key: w for key, w in training.personal.items() if not equal(w, training.initial[key])}
        for key, sent in training.update.send.items():
            require(key not in training.personal, f"client {training.client} sends {key!r}, which is personal{where}")
            names = {name for name in training.personal if key.endswith(f"/{name}")}
            values = {name for name, w in trained.items() if w.numel() > 1 and equal(w.flatten(), sent.flatten())}
            for name in sorted(names | values):
                require(
                    kind_of(key) in algorithm.reveals and name not in strict,
                    f"client {training.client} sends {key!r}, a copy of {name!r}, which is personal{where}; "
                    f"the algorithm declares reveals = {algorithm.reveals}",
                )
