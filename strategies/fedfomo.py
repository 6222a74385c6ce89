"""FedFomo: every client moves towards those of other clients' models that answer its own samples better.

Zhang, Sapra, Fidler, Yeung and Alvarez, "Personalized Federated Learning with First Order Model Optimization", ICLR
2021, https://arxiv.org/abs/2012.08565, Eqs. 3 to 5 and Algorithm 1.

    Client i   g_n = (L_i(θ_i) − L_i(θ_n)) / ‖θ_n − θ_i‖,  w_n = max(0, g_n),  w*_n = w_n / Σ_m w_m, if one is above 0
               θ_i ← θ_i + Σ_n w*_n (θ_n − θ_i), then E epochs of SGD on CE(f(x; θ)); sends θ_i and the g_n
    Server     p_i ← p_i + g;  sends client i up to M other clients' models, one after the other: with probability ε
               any of the rest, otherwise the one with the largest p_in, equals in random order

L_i is the mean cross-entropy on the client's validation samples (training samples if it has none). Nothing is averaged
on the server; p starts at 0. The personal model is θ_i after the mixing that ends a round, in the paper too; it is what
the client's next training starts from. A client that has never been sampled starts from the initial model. With M = 0
this is Local, to the last bit.

Deviations: others' models are mixed into the client's own trained model; in the paper into the model from before its
local training, its own trained model being one of the θ_n. A client that is not sampled mixes, too, when it is scored,
and forgets it. ε stays as it is; in the paper it falls. Of a client that is not sampled, the last model stands. A g_n
that is not finite, or without distance, counts as 0. Under `batch_norm=aggregate` running statistics are part of θ,
otherwise they stay at home.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from fedpers import seeds
from fedpers.algorithm import (
    Aggregated,
    Algorithm,
    Federation,
    Purpose,
    Sent,
    Server,
    ServerState,
    State,
    Task,
    Update,
)
from fedpers.config.keys import Config
from fedpers.models.batch_norm import local_keys
from fedpers.models.staged import Staged
from fedpers.training import score
from strategies.parts.personal_layers import all_keys
from strategies.parts.snapshots import restore, snapshot

MODEL, CLIENTS, GAINS = "weights/model/", "affinity/clients", "affinity/gains"


@dataclass(frozen=True)
class FedFomo(Algorithm):
    """First-order model optimization.

    Args:
        downloads: Most models M of other clients that a client is sent in a round.
        epsilon: Probability ε that one of them is drawn at random.
    """

    sends = ("weights", "affinity")
    receives = ("weights", "affinity")
    reveals = ("weights",)
    varies = MappingProxyType({CLIENTS: (0,), GAINS: (0,)})

    downloads: int
    epsilon: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require("downloads", self.downloads >= 0, "at least 0")
        self.require("epsilon", 0 <= self.epsilon <= 1, "0 to 1")

    def check(self, model: Staged, config: Config) -> None:
        """Check that models can be mixed."""
        if self.downloads:
            self.require_one_architecture(config)

    def personal_keys(self, model: Staged) -> frozenset[str]:
        """Keep all weights; what is sent is a copy."""
        return all_keys(model)

    def fault_in(self, sent: State, federation: Federation) -> str:
        """Return what makes a client's gains impossible; empty: nothing."""
        if CLIENTS not in sent:
            return ""
        clients, gains = sent[CLIENTS], sent[GAINS]
        if len(clients) != len(gains):
            return f"it tells of {len(gains)} gains with {len(clients)} clients"
        if len(clients) and not 0 <= int(clients.min()) <= int(clients.max()) < federation.num_clients:
            return f"it tells of gains with clients {clients.tolist()}, of {federation.num_clients}"
        return ""

    def server(self, federation: Federation) -> Server[Any]:
        """Return the server half."""
        return ModelServer(federation, self)

    def train(self, task: Task) -> Update:
        """Mix, train, and send one's model with what the others' were worth."""
        gains = self.mix(task)
        loss = task.fit()
        send: State = {}
        if self.downloads:
            send = {MODEL + key: w for key, w in _mixed_part(task).items()}
            send |= {CLIENTS: torch.tensor([*gains], dtype=torch.int64), GAINS: torch.tensor([*gains.values()])}
        return Update(send=send, keep=task.personal(), metrics={"loss": loss})

    def personalize(self, task: Task) -> Staged:
        """Return the model moved towards better ones, as the client's next training would start from."""
        self.mix(task)
        return task.model

    def mix(self, task: Task) -> dict[int, float]:
        """Move the model towards better ones and return g by client."""
        if CLIENTS not in task.received:
            return {}
        data = task.data.val if len(task.data.val) else task.data.train
        own = snapshot(_mixed_part(task))
        start, gains, moves = score(task.model, data).loss, dict[int, float](), dict[int, State]()
        for row, client in enumerate(task.received[CLIENTS].cpu().tolist()):
            other = {key: task.received[MODEL + key][row] for key in own}
            restore(task.model, other)
            moves[client] = {key: other[key] - w for key, w in own.items()}
            distance = math.sqrt(sum(float(move.square().sum()) for move in moves[client].values()))
            gain = (start - score(task.model, data).loss) / distance if distance else 0.0
            gains[client] = gain if math.isfinite(gain) else 0.0
        total = sum(gain for gain in gains.values() if gain > 0)
        for client, gain in gains.items():
            if gain > 0:
                own = {key: w + gain / total * moves[client][key] for key, w in own.items()}
        restore(task.model, own)
        return gains


def _mixed_part(task: Task) -> State:
    """Return θ: all floating-point numbers of the model that the BatchNorm policy lets go."""
    stay = local_keys(task.model, task.config.batch_norm)
    return {key: w for key, w in task.model.tensors().items() if w.is_floating_point() and key not in stay}


@dataclass(frozen=True)
class ModelsState(ServerState):
    """What the server remembers.

    Args:
        shared: Nothing.
        models: Every client's last model.
        affinity: p, by client that asks and client that is asked for.
    """

    models: dict[int, State]
    affinity: dict[int, dict[int, float]]


@dataclass(frozen=True)
class ModelServer(Server[ModelsState]):
    """Keeps every client's last model and what others' models were worth to it.

    Args:
        rule: The hyper-parameters.
    """

    rule: FedFomo

    def init(self) -> ModelsState:
        """Start without any model, and with p = 0."""
        return ModelsState({}, {}, {})

    def aggregate(self, state: ModelsState, round: int, sent: Mapping[int, Sent]) -> Aggregated[ModelsState]:
        """Put down the models, and add up the gains."""
        models, affinity = dict(state.models), dict(state.affinity)
        for client, each in sent.items() if self.rule.downloads else ():
            tensors = each.tensors
            models[client] = snapshot({key: w for key, w in tensors.items() if key.startswith(MODEL)})
            p = dict(affinity.get(client, {}))
            for other, gain in zip(tensors[CLIENTS].tolist(), tensors[GAINS].tolist(), strict=True):
                p[other] = p.get(other, 0.0) + gain
            affinity[client] = p
        return Aggregated(ModelsState({}, models, affinity))

    def choose(self, state: ModelsState, client: int, round: int) -> list[int]:
        """Return the clients whose models a client is sent."""
        generator = seeds.numpy_generator(self.federation.config.seed, "downloads", round=round, client=client)
        rest = generator.permutation(sorted(state.models.keys() - {client})).tolist()
        p, chosen = state.affinity.get(client, {}), list[int]()
        for _ in range(min(self.rule.downloads, len(rest))):
            drawn = generator.random() < self.rule.epsilon
            chosen.append(rest[0] if drawn else max(rest, key=lambda other: p.get(other, 0.0)))
            rest.remove(chosen[-1])
        return chosen

    def send_to(self, state: ModelsState, client: int, round: int, purpose: Purpose) -> State:
        """Return the chosen models, stacked: those of the next round to a client that is scored after this one."""
        chosen = self.choose(state, client, round + 1 if purpose == "score" else round)
        models = [state.models[other] for other in chosen]
        stacked = {key: torch.stack([model[key] for model in models]) for key in (models[0] if models else ())}
        return {CLIENTS: torch.tensor(chosen), **stacked} if chosen else {}
