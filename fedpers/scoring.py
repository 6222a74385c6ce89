"""What a model can be scored by: named functions of a split's labels and of the logits that the model answered.

A metric takes labels (n,) in int64 and logits (n, classes), both on the CPU, and returns a number, or a mapping of
numbers by key: `class_accuracy` gives `class_accuracy/0`, `class_accuracy/1`, ... One that has no value on a client
returns NaN, or leaves the key out; that client is then left out of its means.

A new one is a function in this file and its name in `OURS`, or a function of anybody's module:
`plugins=[my_package] metrics=[accuracy,my_package.brier]`. What a run says of such values over clients (means,
fairness) is another matter: `fedpers.results.metrics`.
"""

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedpers.config.build import resolve
from fedpers.errors import UserError, unknown_name
from fedpers.rows import ALWAYS, COLUMNS
from fedpers.training import Score

Metric = Callable[[Tensor, Tensor], float | Mapping[str, float]]
"""Labels (n,) and logits (n, classes) to a number, or to numbers by key."""

F = TypeVar("F", bound=Callable[..., Any])

NUM_BINS = 15
"""Bins of the calibration error, as in Guo et al.'s tables."""


def smaller_is_better(function: F) -> F:
    """Mark a metric whose small values are the good ones: its worst clients are those with the largest."""
    function.__dict__["smaller_is_better"] = True
    return function


def balanced_accuracy(labels: Tensor, logits: Tensor) -> float:
    """Return the mean over the classes that the labels name of the share of correct answers."""
    from sklearn.metrics import recall_score  # `balanced_accuracy_score` warns of answers that no label names

    answers, present = logits.argmax(1).numpy(), labels.unique().numpy()
    return float(recall_score(labels.numpy(), answers, labels=present, average="macro"))


def macro_f1(labels: Tensor, logits: Tensor) -> float:
    """Return the mean F1 over the classes that occur in labels or answers."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels.numpy(), logits.argmax(1).numpy(), average="macro", zero_division=0.0))


def auc(labels: Tensor, logits: Tensor) -> float:
    """Return the area under the ROC curve of each class that the labels name against all others, averaged.

    Samples are ranked by the class's probability. A single class has none, nor has a model without finite answers.
    """
    from sklearn.metrics import roc_auc_score

    present, shares = labels.unique().tolist(), probabilities(logits)
    if len(present) < 2 or not np.isfinite(shares).all():
        return math.nan
    return float(np.mean([roc_auc_score((labels == c).numpy(), shares[:, c]) for c in present]))


@smaller_is_better
def calibration_error(labels: Tensor, logits: Tensor) -> float:
    """Return the expected calibration error: Σ_b |b| / n · |accuracy of b − mean confidence in b|.

    Bins b are (0, 1/15], (1/15, 2/15], ... of the confidence, which is the answer's probability. Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017, https://arxiv.org/abs/1706.04599, equations 2 to 5.
    """
    shares = probabilities(logits)
    if not np.isfinite(shares).all():
        return math.nan
    confidence, correct = shares.max(axis=1), (logits.argmax(1) == labels).numpy()
    bins = np.ceil(confidence * NUM_BINS).astype(np.int64)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=NUM_BINS + 1)
    return float(np.abs(gaps).sum() / len(confidence))


def class_accuracy(labels: Tensor, logits: Tensor) -> dict[str, float]:
    """Return the share of correct answers for each class that the labels name."""
    correct = (logits.argmax(1) == labels).double()
    return {str(c): float(correct[labels == c].mean()) for c in labels.unique().tolist()}


OURS: dict[str, Metric] = {
    function.__name__: function for function in (balanced_accuracy, macro_f1, auc, calibration_error, class_accuracy)
}
"""Metrics beside accuracy and loss, which the batch loop measures (`fedpers.training.score`)."""


def probabilities(logits: Tensor) -> NDArray[np.float64]:
    """Return the softmax of logits (n, classes)."""
    found: NDArray[np.float64] = logits.double().softmax(1).numpy()
    return found


def resolve_metrics(names: Iterable[str], plugins: Iterable[str] = ()) -> dict[str, Metric]:
    """Return the functions of the configured metrics but accuracy and loss; a plugin's is called by its own name.

    Raises:
        UserError: a name is unknown, not allowed or taken.
    """
    found: dict[str, Metric] = {}
    seen: set[str] = set()
    for number, path in enumerate(names):
        key, name = f"metrics[{number}]", path.rpartition(".")[2]
        if name == path and path not in (*ALWAYS, *OURS):
            raise UserError(f"{unknown_name(key, path, (*ALWAYS, *OURS))}, or PACKAGE.FUNCTION of a plugin")
        if name != path and name in (*ALWAYS, *OURS, *COLUMNS):
            raise UserError(f"{key}={path!r} would be called {name!r}, which is taken. Accepted: another name")
        if name in seen:
            raise UserError(f"{key}={path!r}: there is another metric {name!r}. Accepted: each name once")
        seen.add(name)
        if path not in ALWAYS:
            found[name] = OURS[path] if name == path else resolve(path, key, plugins)
    return found


def check_metrics(names: Iterable[str], plugins: Iterable[str], num_classes: int) -> None:
    """Try every configured metric on made-up answers before a run starts.

    Raises:
        UserError: there is no such metric, it fails, or it does not return what a metric returns.
    """
    labels = torch.arange(2 * num_classes) % num_classes
    logits = torch.linspace(-1, 1, num_classes).repeat(len(labels), 1) + torch.eye(num_classes)[labels]
    for name, function in resolve_metrics(names, plugins).items():
        values_of(name, function, labels, logits)


def where_smaller_is_better(names: Iterable[str], plugins: Iterable[str] = ()) -> list[str]:
    """Return the measured metrics whose small values are the good ones."""
    found = resolve_metrics(names, plugins).items()
    return ["loss", *(name for name, function in found if getattr(function, "smaller_is_better", False))]


def measure(found: Score, labels: Tensor, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return a score's figures by name: `num_examples`, accuracy, loss, and every metric that has a value."""
    values = {"num_examples": found.num_examples, "accuracy": found.accuracy, "loss": found.loss}
    if metrics:
        labels, logits = labels.cpu(), torch.cat(found.answers).cpu()
        for name, function in metrics.items():
            values |= values_of(name, function, labels, logits)
    return values


def values_of(name: str, function: Metric, labels: Tensor, logits: Tensor) -> dict[str, float]:
    """Call a metric and return its finite values by name.

    Raises:
        UserError: it fails, or does not return what a metric returns.
    """
    path = f"{function.__module__}.{name}"
    try:
        returned: Any = function(labels, logits)
    except Exception as error:
        text = f"the metric {path} failed on {len(labels)} samples ({type(error).__name__}: {error})"
        raise UserError(f"{text}. Mend it, or take it out of metrics") from error
    is_mapping = isinstance(returned, Mapping)
    parts = {f"{name}/{key}": value for key, value in returned.items()} if is_mapping else {name: returned}
    values = {key: value.item() if getattr(value, "shape", None) == () else value for key, value in parts.items()}
    sound = all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in values.values())
    if not sound or (is_mapping and not all(isinstance(key, str) for key in returned)):
        accepted = "a number, or a dictionary of numbers by name"
        raise UserError(f"the metric {path} returned {_shorten(returned)}. Accepted: {accepted}")
    return {key: float(value) for key, value in values.items() if math.isfinite(value)}


def _shorten(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
