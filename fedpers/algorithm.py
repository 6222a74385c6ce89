"""The contract between the simulator and an algorithm: state and tensors in, state and tensors out.

An algorithm is one frozen dataclass whose fields are its YAML keys. Its client half is `train` and `personalize`, which
see one client's `Task`; its server half is a `Server`, which sees what clients sent. Neither sees Flower or files, and
neither holds anything of its own: what a client remembers goes into `Update.keep` and comes back as `Task.state`, what
the server remembers is its `ServerState`, which every method is given and returns anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

from fedpers.config.keys import Config
from fedpers.errors import Refusing, UserError
from fedpers.federation import Federation as Federation
from fedpers.federation import Sent as Sent
from fedpers.models.staged import Staged
from fedpers.task import State as State
from fedpers.task import Task as Task
from fedpers.task import Update as Update

Purpose = Literal["train", "score"]
"""Why a client is sent something."""

WEIGHTS = "weights"
"""The kind of what has no prefix: entries of the model's state dictionary."""


def kind_of(key: str) -> str:
    """Return the kind of a tensor that travels: its prefix, or `weights` for an entry of the model."""
    prefix, slash, _ = key.partition("/")
    return prefix if slash else WEIGHTS


def weights_of(state: State) -> State:
    """Return the entries of the model among what travels."""
    return {key: tensor for key, tensor in state.items() if "/" not in key}


@dataclass(frozen=True)
class ServerState:
    """What a server half remembers between two rounds: tensors, numbers and names, nothing else.

    A subclass adds fields of type `Tensor`, `int`, `float`, `str`, `bool`, of dictionaries (by name or number), lists
    and dataclasses of these: `fedpers.state` takes it apart for files and puts it together again.

    Args:
        shared: What every client is sent next, when it trains and when it is scored.
    """

    shared: State


S = TypeVar("S", bound=ServerState)


@dataclass(frozen=True)
class Aggregated(Generic[S]):
    """What a round has made of the server's state.

    Args:
        state: The new state.
        diagnostics: Figures of the round, written down by name.
    """

    state: S
    diagnostics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Server(Generic[S]):
    """A server half: functions of state. A query changes nothing, a step returns a new state and spares the old one.

    Args:
        federation: What the server knows before the first round.
    """

    federation: Federation

    def init(self) -> S:
        """Return the state before the first round."""
        raise NotImplementedError

    def send_to(self, state: S, client: int, round: int, purpose: Purpose) -> State:
        """Return what one client is sent besides `state.shared`; nothing by default.

        Args:
            state: The server's state.
            client: The client's number.
            round: The round, counted from 1, that the client trains in, or after which it is scored.
            purpose: "train" or "score".
        """
        return {}

    def aggregate(self, state: S, round: int, sent: Mapping[int, Sent]) -> Aggregated[S]:
        """Return what becomes of the state.

        Args:
            state: The server's state.
            round: The round, counted from 1.
            sent: What clients sent, by client in ascending order; at least one, all with equal names.
        """
        raise NotImplementedError

    def evaluated(self, state: S, round: int, val_accuracy: float) -> S:
        """Be told the personal models' mean validation accuracy over clients after a round; the state stays as it is.

        Clients that never train do not count.
        """
        return state


class Average(Server[ServerState]):
    """Plain federated averaging: what clients send is averaged, each client weighted by its training samples."""

    def init(self) -> ServerState:
        """Start from the initial weights."""
        return ServerState(self.federation.initial)

    def aggregate(self, state: ServerState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ServerState]:
        """Return Σ_k (n_k / n) w_k over the sampled clients."""
        return Aggregated(ServerState(self.federation.average(round, sent, state.shared)))


class Algorithm(Refusing):
    """An algorithm, both halves; the defaults are those of plain federated averaging."""

    group = "strategy"

    reveals: ClassVar[tuple[str, ...]] = ()
    """The prefixes under which copies of personal tensors may leave a client; none by default."""

    varies: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """By the beginnings of names: axes of what clients send that are of any length, one for each sample, say.

    All other axes, and all of other tensors, are equally long for all clients.
    """

    @property
    def sends(self) -> tuple[str, ...]:
        """The kinds of tensors that may leave a client (`kind_of`); a class says `sends = (...)`."""
        return (WEIGHTS,)

    @property
    def receives(self) -> tuple[str, ...]:
        """The kinds of tensors that the server may send; a class says `receives = (...)`."""
        return (WEIGHTS,)

    def needs(self, config: Config) -> dict[str, Any]:
        """Return what has to be changed in a configuration before this algorithm can work: values of top-level keys.

        Studies, tests and the contract change it; `check` tells a user to.
        """
        return {}

    def bound_to_rounds(self, config: Config) -> str:
        """Say why a run cannot go on with another number of rounds than it was begun with; empty: it can.

        It cannot where what happens in a round depends on how many there will be.
        """
        return ""

    @property
    def averages(self) -> bool:
        """Whether the server half averages weights by `Federation.average`, so that `aggregation` has a say.

        The default server half does; a class with another one says `averages = True`.
        """
        return type(self).server is Algorithm.server and bool(self.sends)

    @property
    def blurs(self) -> tuple[str, ...]:
        """The kinds of `privacy` that cover all that clients send: "central", "local", both, or none.

        Central noise is on what the server half averages by `Federation.average` and `average_by_class`. Local noise is
        on every floating-point number that is sent. Shapes and whole numbers must say nothing of a client's data.
        """
        return ("central", "local") if self.averages and set(self.sends) == {WEIGHTS} and not self.varies else ()

    def without_effect(self) -> dict[str, str]:
        """Return the hyper-parameters that change nothing as the others are, and why, e.g. "dropping=none".

        A run says so when one of them is not as its YAML file has it.
        """
        return {}

    def check(self, model: Staged, config: Config) -> None:
        """Raise a UserError when this algorithm's keys do not fit the model or the rest of the configuration."""

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Return the keys of the model's state dictionary that stay with their client; none by default."""
        return frozenset()

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return Average(federation)

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Return what makes values that a client sent impossible, e.g. a label beyond the classes; empty: nothing.

        Names, shapes, types and finite values have been checked. A client that sends impossible values fails.
        """
        return ""

    def train(self, task: Task) -> Update:
        """Train one client for one round."""
        loss = task.fit()
        return Update(send=task.shared(), keep=task.personal(), metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Return the model that this algorithm would deploy on the client now; evaluation scores it."""
        return task.model

    def require_one_architecture(
        self, config: Config, why: str = "mixes clients' weights", accepted: str = "one model for all clients"
    ) -> None:
        """Raise a UserError when clients have models of several architectures, whose weights cannot be mixed.

        Args:
            config: The configuration.
            why: What the algorithm does with weights.
            accepted: What to do instead.
        """
        if len(config.model.get("mixture", ())) > 1:
            raise UserError(
                f"strategy={config.choices.get('strategy')} {why}, which models of several "
                f"architectures (model.mixture) do not allow. Accepted: {accepted}"
            )
