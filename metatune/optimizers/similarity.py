"""How much a past task has to say about the present one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metatune.parameters import Vectors
from metatune.task import Task

# What the same task counts, against 1 for another one with the same metafeatures.
_SAME = 4.0
# Mean squared difference of two standardised values drawn independently: what is taken for tasks
# that cannot be compared.
_STRANGER = 2.0
# Pairs that are counted half right before the first trial has been seen.
_PRIOR_PAIRS = 4.0


def prior_weights(task: Task, others: Sequence[Task]) -> Vectors:
    """Weights [n] of other tasks before anything was tried, from the metafeatures they share.

    Metafeatures are compared on the scale sign(x) log(1 + |x|), as most are counts, and
    standardised over all tasks; d is the mean squared difference and exp(-d / 2) the weight.
    """
    names = sorted({name for other in (task, *others) for name in other.metafeatures})
    table = np.asarray([[_scaled(t, name) for name in names] for t in (task, *others)])
    weights = np.empty(len(others))
    for row, other in enumerate(others):
        d = _difference(table, row + 1)
        same = other.name == task.name and other.data_hash == task.data_hash
        weights[row] = math.exp(-d / 2.0) * (_SAME if same else 1.0)
    return weights


def _scaled(task: Task, name: str) -> float:
    value = task.metafeatures.get(name, math.nan)
    return math.copysign(math.log1p(abs(value)), value) if math.isfinite(value) else math.nan


def _difference(table: Vectors, row: int) -> float:
    """Mean squared difference of rows 0 and `row` over the columns that both have."""
    both = table[:, ~np.isnan(table[[0, row]]).any(axis=0)]
    if both.shape[1] == 0:
        return _STRANGER
    spread = np.nanstd(both, axis=0)
    difference = (both[row] - both[0]) / np.where(spread > 0.0, spread, 1.0)
    return float(np.mean(difference**2))


def evidence(predicted: Vectors, observed: Vectors) -> Vectors:
    """Factors [n] on the weights of n tasks that predicted [n, trials] what was `observed`
    [trials]: the squared odds that a task orders a pair of trials as they turned out.

    Pairs that turned out equal say nothing, and pairs predicted equal are half right.
    """
    turned_out = _order(observed)
    says = np.triu(turned_out != 0.0, k=1)
    right = ((1.0 + _order(predicted) * turned_out) / 2.0 * says).sum(axis=(1, 2))
    share = (right + _PRIOR_PAIRS / 2.0) / (says.sum() + _PRIOR_PAIRS)
    odds: Vectors = share / (1.0 - share)
    return odds**2


def _order(values: Vectors) -> Vectors:
    """1, -1 or 0 for every pair of values [..., n] -> [..., n, n], infinite ones included."""
    a, b = values[..., :, None], values[..., None, :]
    order: Vectors = (a > b).astype(np.float64) - (a < b)
    return order
