"""Training a part while the rest stands still."""

import pytest
from toys import make_task, three_parameters

from fedpers.algorithm import Algorithm
from strategies.parts.freezing import only


def test_only_the_chosen_stages_move() -> None:
    """Both would: the head by (1 - p) times 2, the scale by (1 - p) times (1 + 1)."""
    task = make_task(three_parameters(2.0, (1.0, -1.0)), Algorithm(), [[1.0]], [0])
    with only(task.model, ["base"]) as parameters:
        assert [parameter.shape for parameter in parameters] == [(1,)]
        assert not task.model.get_parameter("head.weight").requires_grad
        task.fit(parameters=parameters)
    assert task.model.get_parameter("base.weight").item() > 2
    assert task.model.get_parameter("head.weight").flatten().tolist() == [1, -1]


def test_gradients_flow_again_whatever_happens() -> None:
    model = three_parameters()
    with pytest.raises(RuntimeError, match="the battery is empty"), only(model, ["head"]):
        raise RuntimeError("the battery is empty")
    assert all(parameter.requires_grad for parameter in model.parameters())
