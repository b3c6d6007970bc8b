"""Metrics: how good predictions are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

_LEAST_PROBABILITY = 1e-15


def log_loss(logits: Array, classes: Classes) -> float:
    """Mean negative log-probability of the right class, probabilities clipped at 1e-15 from below;
    NaN if a logit is NaN or infinite. `logits` [n, c], `classes` [n]."""
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(shifted).sum(axis=1))
        right = shifted[np.arange(len(classes)), classes] - total
        return float(-np.maximum(right, math.log(_LEAST_PROBABILITY)).mean())


def accuracy(logits: Array, classes: Classes) -> float:
    """Share of rows whose highest logit is the right class's."""
    return float((logits.argmax(axis=1) == classes).mean())


def mean_squared_error(predicted: Array, targets: Array) -> float:
    """Mean over rows and outputs [n, outputs]; infinite where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(((predicted - targets) ** 2).mean())


def rmse(predicted: Array, targets: Array) -> float:
    """Root mean squared error over rows, averaged over outputs [n, outputs]."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(((predicted - targets) ** 2).mean(axis=0)).mean())


def macro_scores(logits: Array, classes: Classes) -> dict[str, float]:
    """Precision, recall and F1 as `classification_scores` has them, without scikit-learn."""
    if not np.isfinite(logits).all():
        return dict.fromkeys(("precision", "recall", "f1"), math.nan)
    predicted, count = logits.argmax(axis=1), logits.shape[1]
    right = np.bincount(classes[predicted == classes], minlength=count)
    said = np.bincount(predicted, minlength=count)
    there = np.bincount(classes, minlength=count)
    seen = said + there > 0
    right, said, there = right[seen], said[seen], there[seen]
    return {
        "precision": float((right / np.maximum(said, 1)).mean()),
        "recall": float((right / np.maximum(there, 1)).mean()),
        "f1": float((2 * right / (said + there)).mean()),
    }


def recall_at_precision(logits: Array, classes: Classes, positive: int, least: float) -> float:
    """The highest recall of class `positive` among the thresholds on its probability with a
    precision of at least `least`; 0 if there is none. NaN if a logit is not finite, or if no row is
    of the class."""
    precision, recall = _operating_points(logits, classes, positive)
    return float(np.where(precision < least, 0.0, recall).max())


def precision_at_recall(logits: Array, classes: Classes, positive: int, least: float) -> float:
    """The highest precision with a recall of at least `least`, else as `recall_at_precision`."""
    precision, recall = _operating_points(logits, classes, positive)
    return float(np.where(recall < least, 0.0, precision).max())


def _operating_points(logits: Array, classes: Classes, positive: int) -> tuple[Array, Array]:
    """Precision and recall at each threshold, rows of equal probability together."""
    is_positive = classes == positive
    if not np.isfinite(logits).all() or not is_positive.any():
        return np.full(1, math.nan), np.full(1, math.nan)
    others = np.sort(np.delete(logits, positive, axis=1), axis=1)  # so that equal sums round alike
    highest = others[:, -1:]
    odds = logits[:, positive] - highest[:, 0]
    odds -= np.log(np.exp(others - highest).sum(axis=1))
    order = np.argsort(-odds, kind="stable")
    is_last = np.append(np.diff(odds[order]) != 0.0, True)
    right = np.cumsum(is_positive[order])[is_last]
    said = np.flatnonzero(is_last) + 1
    return right / said, right / is_positive.sum()


def classification_scores(logits: Array, classes: Classes) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and log loss of `logits` [n, c] against `classes` [n].

    Precision, recall and F1 are macro averages, for two classes too: the plain mean over the
    classes that appear among the right or the predicted ones. A class never predicted has
    precision 0, one absent from `classes` recall 0. All are NaN if a logit is not finite.
    """
    from sklearn import metrics as sklearn_metrics  # slow to import: what only trains does without

    names = ("accuracy", "precision", "recall", "f1", "log_loss")
    if not np.isfinite(logits).all():
        return dict.fromkeys(names, math.nan)
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        classes, logits.argmax(axis=1), average="macro", zero_division=0.0
    )
    values = (accuracy(logits, classes), precision, recall, f1, log_loss(logits, classes))
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def regression_scores(predicted: Array, targets: Array) -> dict[str, float]:
    """Root mean squared error and R², each averaged over the outputs of [n, outputs].

    The error is in the targets' unit. R² needs two rows, and is NaN for one; a constant target has
    R² 1 if predicted perfectly, else 0. Both are NaN if a prediction is not finite.
    """
    from sklearn import metrics as sklearn_metrics

    if not np.isfinite(predicted).all():
        return {"rmse": math.nan, "r2": math.nan}
    r2 = sklearn_metrics.r2_score(targets, predicted) if len(targets) > 1 else math.nan
    return {"rmse": rmse(predicted, targets), "r2": float(r2)}
