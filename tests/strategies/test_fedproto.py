"""FedProto: by hand, its inference, its server, and Local as its limit."""

import math

import pytest
import torch
from by_hand import Half, federation, from_yaml
from federations import personal
from toys import make_task, three_parameters

from fedpers.errors import UserError
from strategies.fedproto import FedProto
from strategies.parts.prototypes import CLASS, COUNT, GLOBAL, MEAN

GIVEN = {GLOBAL: torch.tensor([[1.0]]), CLASS: torch.tensor([0])}


def proto(lambda_proto: float = 0.5, inference: str = "prototype") -> FedProto:
    return FedProto(lambda_proto=lambda_proto, inference=inference)


def test_a_step_by_hand() -> None:
    """x = 1 with label 0, scale 2, head (0, 0): the head to (1, -1), the scale by -0.5 * 2 (2 - 1)."""
    task = make_task(three_parameters(2.0), proto(), [[1.0]], [0], received=GIVEN)
    update = proto().train(task)
    assert update.keep["base.weight"].tolist() == pytest.approx([1.0])
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([1, -1])
    assert update.metrics["loss"] == pytest.approx(math.log(2) + 0.5)
    assert set(update.send) == {MEAN, COUNT}
    assert update.send[MEAN].tolist() == [[pytest.approx(1.0)]]  # taken after training
    assert update.send[COUNT].tolist() == [1, 0]


def test_classes_without_a_prototype_are_not_pulled() -> None:
    """The second sample's class has none; the mean is over the whole batch."""
    task = make_task(three_parameters(2.0), proto(), [[1.0], [1.0]], [0, 1], received=GIVEN)
    update = proto().train(task)
    assert update.keep["base.weight"].tolist() == pytest.approx([2 - 0.5 * 2 * 1 / 2])
    assert update.metrics["loss"] == pytest.approx(math.log(2) + 0.5 / 2)


def test_personal_model_is_the_nearest_prototype_or_the_classifier() -> None:
    given = {GLOBAL: torch.tensor([[5.0], [2.0]]), CLASS: torch.tensor([0, 1])}
    task = make_task(three_parameters(1.0, (1.0, -1.0)), proto(), [[1.0]], [0], received=given)
    assert proto().personalize(task)(torch.tensor([[1.0], [9.0]])).argmax(1).tolist() == [1, 0]
    assert proto(inference="classifier").personalize(task) is task.model
    unknown = make_task(three_parameters(1.0), proto(), [[1.0]], [0])
    assert proto().personalize(unknown) is unknown.model


def test_server_weighs_by_samples_and_remembers_absent_clients() -> None:
    server = Half(proto().server(federation(num_clients=3, num_classes=3)))
    assert server.state.shared == {}
    own = {MEAN: torch.tensor([[1.0, 0.0], [2.0, 2.0]]), COUNT: torch.tensor([3, 0, 1])}
    other = {MEAN: torch.tensor([[9.0, 9.0]]), COUNT: torch.tensor([0, 2, 0])}
    server.aggregate(1, {0: own, 1: other})
    sent = server.aggregate(2, {1: {MEAN: torch.tensor([[5.0, 4.0]]), COUNT: torch.tensor([1, 0, 0])}})
    assert sent[CLASS].tolist() == [0, 2]
    assert sent[GLOBAL].tolist() == [[2.0, 1.0], [2.0, 2.0]]  # (3 * 1 + 5) / 4, (3 * 0 + 4) / 4


def test_prototypes_reach_clients_that_are_scored(federate) -> None:
    """The trap: what `send_to` gives is not there in evaluation."""
    choice = ["strategy=fedproto", "participation=0.5", "unseen=0.25"]
    nearest, classifier = federate(*choice), federate(*choice, "strategy.inference=classifier")
    losses = [personal(run).set_index(["round", "client", "split"]).loss.sort_index() for run in (nearest, classifier)]
    assert (losses[0] != losses[1]).all()


def test_lambda_zero_with_the_classifier_is_local(federate) -> None:
    zero = federate("strategy=fedproto", "strategy.lambda_proto=0", "strategy.inference=classifier")
    alone = federate("strategy=local")
    assert personal(zero).equals(personal(alone))
    pulled = federate("strategy=fedproto", "strategy.inference=classifier")
    assert not personal(pulled).equals(personal(alone))


def test_only_prototypes_and_counts_travel(federate) -> None:
    traffic = federate("strategy=fedproto").traffic
    assert set(traffic.kind) == {"prototypes", "labels", "metrics", "control"}


@pytest.mark.parametrize(("key", "value"), [("lambda_proto", -1.0), ("inference", "head")])
def test_impossible_value_is_named(key: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{key}"):
        from_yaml("fedproto", **{key: value})
