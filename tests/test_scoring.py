"""Metrics of one model on one split: against scikit-learn, numbers worked out by hand, and what is refused."""

import math
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torch import Tensor, nn

from fedpers import scoring
from fedpers.errors import UserError
from fedpers.training import Split, score

OURS = ["balanced_accuracy", "macro_f1", "auc", "calibration_error", "class_accuracy"]


def answers(seed: int, classes: int = 4, size: int = 60) -> tuple[Tensor, Tensor]:
    """Labels, and logits that are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (size,), generator=generator)
    return labels, torch.randn(size, classes, generator=generator) + 1.5 * torch.eye(classes)[labels]


def logits_of(probabilities: list[list[float]]) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 4])
def test_against_scikit_learn_where_every_class_is_there(seed: int, classes: int) -> None:
    labels, logits = answers(seed, classes)
    truth, answered, shares = labels.numpy(), logits.argmax(1).numpy(), logits.double().softmax(1).numpy()
    expected = sklearn_metrics.balanced_accuracy_score(truth, answered)
    assert scoring.balanced_accuracy(labels, logits) == pytest.approx(expected)
    expected = sklearn_metrics.f1_score(truth, answered, average="macro")
    assert scoring.macro_f1(labels, logits) == pytest.approx(expected)
    expected = (
        sklearn_metrics.roc_auc_score(truth, shares[:, 1])
        if classes == 2
        else sklearn_metrics.roc_auc_score(truth, shares, multi_class="ovr", average="macro")
    )
    assert scoring.auc(labels, logits) == pytest.approx(expected)
    expected = sklearn_metrics.recall_score(truth, answered, average=None)
    assert [*scoring.class_accuracy(labels, logits).values()] == pytest.approx(expected)


def test_a_client_that_lacks_classes() -> None:
    # labels 0, 0, 0, 2 of three classes; answers 0, 0, 1, 2
    labels = torch.tensor([0, 0, 0, 2])
    logits = logits_of([[0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.3, 0.2, 0.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to be said of what is usual here
        assert scoring.balanced_accuracy(labels, logits) == pytest.approx((2 / 3 + 1) / 2)
        # F1 of 0: precision 1, recall 2/3; of 1, which is answered once and never right: 0; of 2: 1
        assert scoring.macro_f1(labels, logits) == pytest.approx((0.8 + 0 + 1) / 3)
        # class 0: 0.6 and 0.5, not 0.2, lie above the 0.3 of the other sample; class 2: 0.5 lies above all three
        assert scoring.auc(labels, logits) == pytest.approx((2 / 3 + 1) / 2)
        assert scoring.class_accuracy(labels, logits) == pytest.approx({"0": 2 / 3, "2": 1})


def test_auc_needs_two_classes_and_finite_answers() -> None:
    assert math.isnan(scoring.auc(torch.tensor([1, 1]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])))
    assert math.isnan(scoring.auc(torch.tensor([0, 1]), torch.tensor([[math.nan, 1.0], [1.0, 0.0]])))


def test_calibration_error_by_hand() -> None:
    # confidences 0.9 (right), 0.9 (wrong), 0.55 (right), 0.5 (wrong): bins 14, 14, 9, 8 of 15
    labels = torch.tensor([0, 1, 0, 1])
    logits = logits_of([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45], [0.5, 0.5]])
    assert scoring.calibration_error(labels, logits) == pytest.approx((2 * 0.4 + 0.45 + 0.5) / 4)
    # within a bin gaps cancel: 12/15 < 0.81, 0.85 <= 13/15, one right and one wrong
    logits = logits_of([[0.81, 0.19], [0.85, 0.15]])
    assert scoring.calibration_error(torch.tensor([0, 1]), logits) == pytest.approx(abs(0.5 - 0.83))
    # but not across bins: 0.79 lies in (11/15, 12/15]
    logits = logits_of([[0.79, 0.21], [0.85, 0.15]])
    assert scoring.calibration_error(torch.tensor([0, 1]), logits) == pytest.approx((0.21 + 0.85) / 2)


def test_calibration_of_certainty_and_of_nothing_finite() -> None:
    sure = torch.tensor([[1000.0, 0.0], [1000.0, 0.0]])
    assert scoring.calibration_error(torch.tensor([0, 0]), sure) == 0
    assert scoring.calibration_error(torch.tensor([0, 1]), sure) == 0.5
    assert math.isnan(scoring.calibration_error(torch.tensor([0]), torch.tensor([[math.nan, 0.0]])))


def test_a_score_is_measured_over_all_batches() -> None:
    labels, logits = answers(5)
    found = score(nn.Identity(), Split(logits, labels), batch_size=7)
    values = scoring.measure(found, labels, scoring.resolve_metrics(OURS))
    assert values["num_examples"] == 60
    assert values["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, logits.argmax(1)))
    assert values["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, logits.double().softmax(1)), rel=1e-5)
    assert values["auc"] == scoring.auc(labels, logits)
    assert [name for name in values if "/" in name] == [f"class_accuracy/{c}" for c in range(4)]


def test_what_has_no_value_is_left_out_but_the_loss() -> None:
    labels, logits = torch.tensor([0, 0]), torch.full((2, 2), math.nan)
    found = score(nn.Identity(), Split(logits, labels))
    values = scoring.measure(found, labels, scoring.resolve_metrics(["auc", "calibration_error", "macro_f1"]))
    assert math.isnan(values["loss"])
    assert set(values) == {"num_examples", "accuracy", "loss", "macro_f1"}


# names


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty module of somebody else's."""
    module = ModuleType("their_metrics")
    monkeypatch.setitem(sys.modules, "their_metrics", module)
    return module


def define(module: ModuleType, name: str, returned: object) -> None:
    def function(labels: Tensor, logits: Tensor) -> object:
        return returned

    function.__module__ = module.__name__
    setattr(module, name, function)


def test_accuracy_and_loss_need_no_function() -> None:
    assert scoring.resolve_metrics(["loss", "auc", "accuracy"]) == {"auc": scoring.auc}
    assert scoring.resolve_metrics([]) == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["accuracy", "balanced_acc"], r"unknown metrics\[1\] 'balanced_acc'. Did you mean 'balanced_accuracy'\?"),
        (["ac"], "macro_f1, or PACKAGE.FUNCTION of a plugin"),
        (["auc", "loss", "auc"], r"metrics\[2\]='auc': there is another metric 'auc'"),
        (["loss", "loss"], r"metrics\[1\]='loss': there is another metric 'loss'"),
        (["os.getcwd"], r"metrics\[0\]='os.getcwd' is not allowed.*plugins=\[module\]"),
        (["fedpers.scoring.auc"], "would be called 'auc', which is taken"),
        (["their_metrics.split"], "would be called 'split', which is taken"),
        (["their_metrics.absent"], "module 'their_metrics' has no 'absent'"),
    ],
)
def test_names_are_checked(names: list[str], message: str, plugin: ModuleType) -> None:
    with pytest.raises(UserError, match=message):
        scoring.resolve_metrics(names, ["their_metrics"])


# what functions return


@pytest.mark.parametrize(
    ("returned", "values"),
    [
        (2, {"mine": 2.0}),
        (np.float32(0.5), {"mine": 0.5}),
        (torch.tensor(0.25), {"mine": 0.25}),
        ({"a": 1, "b/c": 0.5}, {"mine/a": 1.0, "mine/b/c": 0.5}),
        (math.nan, {}),
        ({"a": math.inf, "b": 1.0}, {"mine/b": 1.0}),
        ({}, {}),
    ],
)
def test_a_plugin_returns_a_number_or_numbers_by_name(
    returned: object, values: dict[str, float], plugin: ModuleType
) -> None:
    define(plugin, "mine", returned)
    found = scoring.resolve_metrics(["their_metrics.mine"], ["their_metrics"])
    assert scoring.values_of("mine", found["mine"], *answers(0)) == values
    scoring.check_metrics(["their_metrics.mine"], ["their_metrics"], 3)


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        (None, "None"),
        ("0.5", "'0.5'"),
        (True, "True"),
        (1j, "1j"),
        ([0.5], r"\[0.5\]"),
        (torch.ones(2), "tensor.*"),
        ({"a": None}, "{'a': None}"),
        ({3: 0.5}, "{3: 0.5}"),
        ("x" * 200, r"'x{70,}\.\.\."),
    ],
)
def test_anything_else_is_refused_before_a_run(returned: object, shown: str, plugin: ModuleType) -> None:
    define(plugin, "mine", returned)
    message = f"the metric their_metrics.mine returned {shown}. Accepted: a number, or a dictionary of numbers by name"
    with pytest.raises(UserError, match=message):
        scoring.check_metrics(["their_metrics.mine"], ["their_metrics"], 3)


def test_a_function_that_fails_is_named(plugin: ModuleType) -> None:
    def mine(labels: Tensor, logits: Tensor) -> float:
        raise KeyError("threshold")

    mine.__module__ = plugin.__name__
    plugin.mine = mine  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"their_metrics\.mine failed on 6 samples \(KeyError: 'threshold'\)"):
        scoring.check_metrics(["their_metrics.mine"], ["their_metrics"], 3)


def test_direction_is_the_functions_own(plugin: ModuleType) -> None:
    define(plugin, "brier", 0.5)
    scoring.smaller_is_better(plugin.brier)
    names = ["accuracy", "auc", "calibration_error", "their_metrics.brier"]
    assert scoring.where_smaller_is_better(names, ["their_metrics"]) == ["loss", "calibration_error", "brier"]
