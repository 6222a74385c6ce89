"""FedD2S in runs: what leaves a client and in which size, mixed models, diagnostics, and what never happens."""

import dataclasses

import pytest
import torch
from fedd2s_toys import KNOWLEDGE, ONE, make
from federations import metric_files, record
from toys import three_parameters

from fedpers import assembly
from fedpers.errors import UserError
from fedpers.wire import records
from strategies.fedd2s.client import HEAD
from strategies.parts.exchange import SENT, SOFT_LABELS

OFF = ["strategy.lambda_ce=0", "strategy.lambda_kl=0"]


def test_nothing_but_knowledge_leaves_a_client(federate) -> None:
    recorder, run = record(federate, *KNOWLEDGE)
    for reply in recorder.replies:
        assert set(reply.content.array_records[records.ARRAYS]) == set(SENT)
    assert set(run.traffic[run.traffic.direction == "up"].kind) == {
        "representations",
        "soft_labels",
        "labels",
        "metrics",
    }
    assert set(run.scores.model) == {"personal"}


def test_representation_has_the_shape_of_the_active_cut(federate) -> None:
    """Hidden widths 8 and 6: cut 2 sends 6 values a sample, then cut 1 sends 8."""
    recorder, _ = record(federate, *KNOWLEDGE, "strategy.dropping_interval=1", "rounds=2")
    widths = {
        records.round_of(message.content): reply.content.array_records[records.ARRAYS]["representations/h"].shape[1]
        for message, reply in zip(recorder.sent, recorder.replies, strict=True)
    }
    assert widths == {1: 6, 2: 8}


@pytest.mark.parametrize("off", [OFF, [*OFF, "strategy.knowledge=class_means"], [*OFF, "strategy.kl_on=head"]])
def test_all_weights_zero_is_local(off: list[str], federate) -> None:
    nothing = federate(*KNOWLEDGE, "strategy.clip_norm=null", "participation=0.5", *off).scores
    assert nothing.equals(federate("strategy=local", "participation=0.5").scores)


def test_class_means_send_less(federate) -> None:
    def size(knowledge: str) -> int:
        traffic = federate(*KNOWLEDGE, f"strategy.knowledge={knowledge}").traffic
        return int(traffic[traffic.kind == "representations"].bytes.sum())

    assert size("class_means") < size("samples")


def test_float16_halves_the_knowledge_on_the_wire(federate) -> None:
    def size(wire: str) -> int:
        recorder, _ = record(federate, *KNOWLEDGE, f"strategy.wire={wire}", "rounds=2", "strategy.dropping=none")
        arrays = [reply.content.array_records[records.ARRAYS]["representations/h"] for reply in recorder.replies]
        heads = [m.content.array_records[records.OWN] for m in recorder.sent]
        assert {a.dtype for r in heads for key, a in r.items() if key.startswith((HEAD, SOFT_LABELS))} == {wire}
        return sum(array.numpy().nbytes for array in arrays)

    assert size("float32") == 2 * size("float16")


def test_clients_may_own_different_architectures(federate) -> None:
    mixed = ["model=mixed", "partition.max_samples=80", "rounds=2"]
    run = federate(*KNOWLEDGE, *mixed)
    assert run.scores.client.nunique() == 4
    assert federate("strategy=local", *mixed).scores.client.nunique() == 4


def test_each_client_has_its_own_architecture(config) -> None:
    settings = config(*KNOWLEDGE, "model=mixed")
    _, shards = assembly.open_run(settings.to_json())
    models = [assembly.build_model(settings, shards, client) for client in range(4)]
    depths = [sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) for model in models]
    assert depths == [2, 4, 6, 2]
    images = shards.client(0).train.inputs
    for cut in (1, 2, 3):
        assert len({model.run_to(images, cut).shape for model in models}) == 1


def test_a_mixture_shares_no_weights(federate) -> None:
    with pytest.raises(UserError, match="strategy=fedavg shares weights"):
        federate("strategy=fedavg", "model=mixed")


def test_diagnostics_tell_what_happened(federate) -> None:
    table = federate(*KNOWLEDGE, "strategy.dropping_interval=2").diagnostics
    server = table[table.client == -1]
    assert server[server.name == "active_cut"].value.tolist() == [2, 2, 1]
    assert server[server.name == "head_accuracy"].value.between(0, 1).all()
    assert len(server[server.name == "head_loss"]) == 3
    clients = table[table.client >= 0]
    assert set(clients.name) == {"loss", "agreement", "drift/fc1", "drift/fc2", "drift/head"}
    assert set(clients[clients.name == "agreement"]["round"]) == {2, 3}  # nobody teaches in the first round
    drift = clients[clients.name == "drift/head"].groupby("round").value.mean()
    assert drift.is_monotonic_increasing


def test_observation_changes_nothing(federate) -> None:
    """Diagnostics are bookkeeping: the metric tables are those of a run whose diagnostics are thrown away."""
    assert metric_files(federate(*KNOWLEDGE)) == metric_files(federate(*KNOWLEDGE))
    assert dataclasses.asdict(make())["knowledge_noise"] == 0.0
    assert make().view(0).observe(three_parameters(), ONE, 1)[0].tolist() == [[1.0]]
