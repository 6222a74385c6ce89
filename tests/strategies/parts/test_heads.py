"""Heads: sent, rebuilt in every shape, and frozen where they are constants."""

import torch
from fedd2s_toys import head_with

from strategies.parts.heads import copied_weights, frozen_head, head_of, make_head

HEAD = "heads/"


def test_head_on_the_client_is_the_servers_and_frozen() -> None:
    head = head_with((0.5, -0.5))
    received = {HEAD + key: value for key, value in head.state_dict().items()}
    rebuilt = frozen_head(received, HEAD)
    assert rebuilt is not None
    assert rebuilt(torch.tensor([[2.0]])).tolist() == [[1.0, -1.0]]
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())
    assert frozen_head({}, HEAD) is None


def test_head_of_each_shape_is_rebuilt() -> None:
    for hidden, norm in ((3, False), (0, False), (3, True), (0, True)):
        head = make_head(4, hidden, 2, norm=norm)
        rebuilt = frozen_head({HEAD + key: value for key, value in head.state_dict().items()}, HEAD)
        assert rebuilt is not None
        inputs = torch.rand(5, 4)
        torch.testing.assert_close(rebuilt(inputs), head(inputs), rtol=0, atol=0)


def test_a_head_holds_its_weights_as_they_are_and_copies_are_copies() -> None:
    weights = copied_weights(head_with((0.5, -0.5)))
    head = head_of(weights)
    copies = copied_weights(head)
    with torch.no_grad():
        head.logits.weight.add_(1)
    assert weights["logits.weight"].flatten().tolist() == [1.5, 0.5]
    assert copies["logits.weight"].flatten().tolist() == [0.5, -0.5]
    assert all(parameter.requires_grad for parameter in head.parameters())
