"""Local: by hand, and what is not sent."""

import pytest
from toys import make_task, three_parameters

from strategies.local import Local

# From scale 2 and head weights (0, 0) on x = 1 with label 0: logits (0, 0), dCE/dlogits = (-1/2, 1/2), times the
# representation 2: dCE/dhead = (-1, 1), dCE/dscale = head . dlogits = 0. One step with lr 1: head (1, -1), scale 2.


def test_local_keeps_everything() -> None:
    update = Local().train(make_task(three_parameters(2.0), Local(), [[1.0]], [0]))
    assert update.send == {}
    assert update.keep["head.weight"].flatten().tolist() == pytest.approx([1, -1])
    assert update.keep["base.weight"].tolist() == [2.0]


def test_local_sends_no_weights(federate) -> None:
    traffic = federate("strategy=local").traffic
    assert set(traffic.kind) == {"metrics", "control"}
    assert set(traffic[traffic.direction == "up"].kind) == {"metrics"}
