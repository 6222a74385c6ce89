"""The server half of FedD2S: heads that learn from the clients' knowledge and label it, averages of shared stages."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from fedpers import seeds
from fedpers.algorithm import Aggregated, Purpose, Sent, Server, ServerState, State, weights_of
from strategies.fedd2s.client import CUT, HEAD, POOLED
from strategies.fedd2s.dropping import AdaptiveDropping
from strategies.fedd2s.settings import Settings
from strategies.parts.exchange import ROW_KEYS, SOFT_LABELS, Knowledge, head_to_train, pooled, rows_of
from strategies.parts.heads import copied_weights

ORIGIN = "control/soft_labels_cut_and_round"


@dataclass(frozen=True)
class SoftLabels:
    """What a head said of a client's knowledge.

    Args:
        q: (rows, classes) distributions, in the order in which the client sent its knowledge.
        cut: The head's cut.
        round: The round in which it was said.
    """

    q: Tensor
    cut: int
    round: int


@dataclass(frozen=True)
class HeadState(ServerState):
    """What the server remembers.

    Args:
        shared: The averages of the stages before the active cut, where weights are shared; otherwise nothing.
        heads: Weights of the trained heads, by cut and by owner.
        pools: How often each class was among the knowledge that each of them last learned from, likewise.
        soft_labels: What a head last said of each client's knowledge.
        dropping: How far adaptive dropping has come.
        dropped: The last averages of stages that have been dropped since.
        trained: The clients that were heard, in ascending order.
    """

    heads: dict[int, dict[int, State]]
    pools: dict[int, dict[int, Tensor]]
    soft_labels: dict[int, SoftLabels]
    dropping: AdaptiveDropping
    dropped: State
    trained: list[int]


@dataclass(frozen=True)
class HeadServer(Server[HeadState]):
    """Trains the head of the active cut on the clients' knowledge and distils it back; averages shared stages.

    Args:
        settings: The hyper-parameters.
    """

    settings: Settings

    def init(self) -> HeadState:
        """Start without any head or average: none is sent before there is one, and clients know the initial weights."""
        return HeadState({}, {}, {}, {}, AdaptiveDropping(), {}, [])

    @cached_property
    def num_stages(self) -> int:
        """Number of the model's stages."""
        return len(self.federation.model())

    @cached_property
    def initial(self) -> State:
        """The weights that clients start from until there are averages."""
        return self.federation.model().state_dict()

    def cut(self, state: HeadState, round: int) -> int:
        """Return the active cut."""
        a = self.settings
        if a.dropping == "adaptive":
            return a.cuts(self.num_stages)[state.dropping.index]
        return a.active_cut(round, self.federation.config.rounds, self.num_stages)

    def evaluated(self, state: HeadState, round: int, val_accuracy: float) -> HeadState:
        """Let adaptive dropping see the mean validation accuracy over clients."""
        a = self.settings
        last = len(a.cuts(self.num_stages)) - 1
        dropping = state.dropping.observe(round, val_accuracy, patience=a.patience, min_delta=a.min_delta, last=last)
        return replace(state, dropping=dropping)

    def owner(self, client: int) -> int:
        """Return whose head serves a client: its own, or the one of all."""
        return client if self.settings.heads == "own" else seeds.SERVER

    def send_to(self, state: HeadState, client: int, round: int, purpose: Purpose) -> State:
        """Return the active cut, its head once that is trained, and what a head last said of the client's knowledge.

        To be scored, a client is sent the head only, if that has a vote. A client that was never heard is sent the last
        averages of dropped stages as well.
        """
        a, cut = self.settings, self.cut(state, round)
        if purpose == "score" and not a.vote and not a.shares_weights:
            return {}
        found: State = {CUT: torch.tensor(cut)} | ({} if client in state.trained else state.dropped)
        head = state.heads.get(cut, {}).get(self.owner(client))
        teaches = a.feedback != "soft_labels" and a.uses_head
        if head is not None and (a.vote if purpose == "score" else teaches):
            found |= {HEAD + key: tensor.to(a.wire_type) for key, tensor in head.items()}
        if purpose == "score":
            return found | ({POOLED: state.pools[cut][self.owner(client)]} if head is not None and a.vote else {})
        said = self.fresh_soft_labels(state, client, round)
        if said is not None:
            found |= {SOFT_LABELS: said.q.to(a.wire_type), ORIGIN: torch.tensor([said.cut, said.round])}
        return found

    def fresh_soft_labels(self, state: HeadState, client: int, round: int) -> SoftLabels | None:
        """Return what a head last said of a client's knowledge, unless it is of no use or too old."""
        a, said = self.settings, state.soft_labels.get(client)
        if said is None or a.feedback == "head" or not a.lambda_kl:
            return None
        too_old = a.soft_label_max_age is not None and round - said.round > a.soft_label_max_age
        return None if too_old else said

    def aggregate(self, state: HeadState, round: int, sent: Mapping[int, Sent]) -> Aggregated[HeadState]:
        """Let the active head learn from what was sent and label it, and average what weights were sent."""
        diagnostics = {"active_cut": float(self.cut(state, round))}
        if self.settings.shares_knowledge:
            taught = self.teach(state, round, sent)
            state, diagnostics = taught.state, diagnostics | taught.diagnostics
        if self.settings.shares_weights:
            start = self.initial | state.shared
            averages = self.federation.average(round, sent, start, weights_of, releases=self.settings.releases)
            ever = state.dropped | state.shared
            dropped = {key: average for key, average in ever.items() if key not in averages}
            state = replace(state, shared=averages, dropped=dropped)
        return Aggregated(replace(state, trained=sorted({*state.trained, *sent})), diagnostics)

    def teach(self, state: HeadState, round: int, sent: Mapping[int, Sent]) -> Aggregated[HeadState]:
        """Train the active head on what was sent, then let it label every row of it."""
        cut = self.cut(state, round)
        received = {client: Knowledge.received(each.tensors) for client, each in sent.items()}
        knowledge, labelled = self.learnable(round, sent, received)
        if not knowledge:  # nothing stands out of the noise of privacy
            return Aggregated(state, {"left_out": float(len(sent))})
        trained: dict[int, nn.Module] = {}
        pools = {}
        losses = []
        training = self.settings.head_training(self.federation.config)
        left_out: set[int] = set()
        for owner in sorted({self.owner(client) for client in knowledge}):
            own = {client: part for client, part in knowledge.items() if self.owner(client) == owner}
            left_out |= self.misfits(state, round, own)
            rows = pooled([part for client, part in own.items() if client not in left_out], cut)
            pools[owner] = rows.labels.bincount(rows.counts, minlength=self.federation.num_classes).long()
            trained[owner] = self.head(state, cut, owner, rows.h.shape[1])
            stream = seeds.torch_generator(self.federation.config.seed, "server", round=round, client=owner)
            losses.append(training.fit(trained[owner], rows, stream))
        soft_labels, correct, total = dict(state.soft_labels), 0.0, 0.0
        for client in labelled:
            part = received[client]
            q, right = training.label(trained[self.owner(client)], part)
            soft_labels[client] = SoftLabels(q, cut, round)
            correct, total = correct + right, total + float(part.counts.sum())
        heads = {owner: copied_weights(head) for owner, head in trained.items()}
        taught = [said for client in sent if (said := self.fresh_soft_labels(state, client, round))]
        ages = [round - said.round for said in taught]
        diagnostics = {
            "head_loss": sum(losses) / len(losses),
            "head_accuracy": correct / total,
            **({"soft_label_age": sum(ages) / len(ages)} if ages else {}),
            **{f"left_out/{client}": 1.0 for client in sorted(left_out)},
        }
        every_head = {**state.heads, cut: {**state.heads.get(cut, {}), **heads}}
        every_pool = {**state.pools, cut: {**state.pools.get(cut, {}), **pools}}
        return Aggregated(replace(state, heads=every_head, pools=every_pool, soft_labels=soft_labels), diagnostics)

    def learnable(
        self, round: int, sent: Mapping[int, Sent], received: Mapping[int, Knowledge]
    ) -> tuple[dict[int, Knowledge], list[int]]:
        """Return what heads learn from, by client, and the clients whose rows they label then.

        With central noise that is one Knowledge of the server's own: the means over clients. A client's own rows are
        labelled by heads that have seen no more, and nobody else is told.
        """
        pool = self.federation.average_by_class(round, sent, rows_of, releases=self.settings.releases)
        if pool is None:
            found = {client: part for client, each in received.items() if len((part := self.readable(each)).labels)}
            return found, list(found)
        means, classes = pool
        h, p = (means[key] for key in ROW_KEYS)
        part = Knowledge(h, p, classes, torch.ones_like(classes)).normalized()
        return ({seeds.SERVER: part} if len(classes) else {}), list(received)

    def readable(self, part: Knowledge) -> Knowledge:
        """Return what can be learnt from: of what privacy has blurred, the rows that stand out of the noise."""
        privacy = self.federation.privacy
        if privacy is None:
            return part
        stands_out = privacy.stands_out(part.h)
        return Knowledge(*(tensor[stands_out] for tensor in part.normalized()))

    def misfits(self, state: HeadState, round: int, knowledge: Mapping[int, Knowledge]) -> set[int]:
        """Return the clients whose knowledge a head does not learn from: those `trim` that it fits worst.

        The head is the one that it has become by now or, where it has not learnt yet, one that has learnt from all.
        """
        number = math.floor(self.settings.trim * len(knowledge) + 1e-9)
        if not number:
            return set()
        cut, owner = self.cut(state, round), self.owner(next(iter(knowledge)))
        training = self.settings.head_training(self.federation.config)
        rows = pooled(list(knowledge.values()), cut)
        head = self.head(state, cut, owner, rows.h.shape[1])
        if owner not in state.heads.get(cut, {}):
            stream = seeds.torch_generator(self.federation.config.seed, "misfits", round=round, client=owner)
            training.fit(head, rows, stream)
        losses = {client: training.loss(head, part) for client, part in knowledge.items()}
        return set(sorted(losses, key=lambda client: -losses[client])[:number])

    def head(self, state: HeadState, cut: int, owner: int, width: int) -> nn.Module:
        """Return a head as it was left, or as initialized, for training."""
        return head_to_train(
            state.heads.get(cut, {}).get(owner),
            cut=cut,
            width=width,
            hidden=self.settings.hidden_width(cut, self.num_stages),
            num_classes=self.federation.num_classes,
            norm=self.settings.head_norm,
            seed=self.federation.config.seed,
        )
