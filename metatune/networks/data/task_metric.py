"""What a task of the built-in networks is measured by: the validation loss, or a score of choice.

A metric is named as users write it, `f1` or `recall_at_precision:0.9`, with the positive class
behind another colon if it is not the second of two, and stands in scores and tasks with
"validation_" before it.
"""

from __future__ import annotations

from typing import NamedTuple

from metatune.errors import TaskError
from metatune.networks.data import metrics
from metatune.networks.data.metrics import Array, Classes
from metatune.networks.data.tables import Kind
from metatune.task import Direction

LOSS = "validation_loss"
_PREFIX = "validation_"
AT_LEAST = ("precision_at_recall", "recall_at_precision")
CLASSIFICATION = ("loss", "accuracy", "precision", "recall", "f1", *AT_LEAST)
REGRESSION = ("loss", "rmse")


class _Read(NamedTuple):
    name: str
    least: float
    positive: str

    def number_in(self, labels: tuple[str, ...]) -> int:
        """The number of the positive class, the second if none is named."""
        return labels.index(self.positive) if self.positive else 1


def task_metric(given: str | None, kind: Kind, labels: tuple[str, ...], source: str) -> str:
    """The name in scores of the metric that a user gave, `LOSS` for None.

    Raises TaskError, naming the data `source`, for one that is unknown or does not fit.
    """
    if given is None:
        return LOSS
    name, _, rest = given.removeprefix(_PREFIX).partition(":")
    known = CLASSIFICATION if kind == "classification" else REGRESSION
    where = f"metric {given!r} on {source}"
    if name not in known or (rest and name not in AT_LEAST):
        shown = ", ".join(f"{n}:0.9" if n in AT_LEAST else n for n in known)
        raise TaskError(f"{where}: a {kind} is measured by one of {shown}")
    if name not in AT_LEAST:
        return _PREFIX + name
    number, _, positive = rest.partition(":")
    try:
        least = float(number)
    except ValueError:
        least = 0.0
    if not 0.0 < least <= 1.0:
        raise TaskError(f"{where}: it needs a number in (0, 1], as in {name}:0.9")
    if positive and positive not in labels:
        raise TaskError(f"{where}: {positive!r} is none of the classes {list(labels[:10])}")
    if not positive and len(labels) != 2:
        raise TaskError(f"{where}: of {len(labels)} classes name one, as in {name}:0.9:{labels[0]}")
    return f"{_PREFIX}{name}:{least:g}{':' if positive else ''}{positive}"


def direction_of(metric: str) -> Direction:
    """Which way a metric, by its name in scores, is better."""
    return "minimize" if metric in (LOSS, "validation_rmse") else "maximize"


def class_score(metric: str, labels: tuple[str, ...], logits: Array, classes: Classes) -> float:
    """A metric of a classification other than the loss, by its name in scores, of `logits` [n, c]
    against `classes` [n].

    Precision, recall and F1 are macro averages (see `metrics.macro_scores`).
    """
    asked = _read(metric)
    if asked.name == "precision_at_recall":
        return metrics.precision_at_recall(logits, classes, asked.number_in(labels), asked.least)
    if asked.name == "recall_at_precision":
        return metrics.recall_at_precision(logits, classes, asked.number_in(labels), asked.least)
    if asked.name == "accuracy":
        return metrics.accuracy(logits, classes)
    return metrics.macro_scores(logits, classes)[asked.name]


def _read(metric: str) -> _Read:
    name, _, rest = metric.removeprefix(_PREFIX).partition(":")
    number, _, positive = rest.partition(":")
    return _Read(name, float(number or 0.0), positive)
