"""What past tasks expect, corrected by what this task's trials showed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metatune.optimizers.past_ensemble import PastEnsemble, mixed
from metatune.optimizers.past_surrogate import scaled
from metatune.optimizers.surrogate import Fitted, Scale, Surrogate
from metatune.optimizers.task_surrogate import WORST
from metatune.parameters import Vectors

# How surely the slope of a task is 1, as the sum of squares of what experience says of so many
# labels.
_PRIOR_SQUARES = 0.25


@dataclass(frozen=True)
class StackedModel:
    """Labels are a + b g(x) + r(x): g the mixture of the past tasks by their `weights` [T], a
    `offset` and b `slope`, and r what the surrogate learned of the rest, if it was asked.

    `best` is the lowest label seen, or expected where nothing has ended; None before the first
    trial. `share` in [0, 1] is how much of what was seen experience explains. `unit` gives labels
    in units of the metric, where that is known.
    """

    weights: Vectors
    offset: float
    slope: float
    rest: Fitted | None
    best: float | None
    share: float
    unit: Scale | None

    @classmethod
    def of(
        cls,
        surrogate: Surrogate,
        past: PastEnsemble,
        points: Vectors,
        values: Vectors,
        startup: int,
        seed: int,
    ) -> StackedModel:
        """From values [n], infinite where trials failed, at the first n of the points [m, d]; the
        others are pending, and taken to end as is expected of them. The surrogate is asked from
        `startup` finite values on."""
        finite = values[np.isfinite(values)]
        labels = scaled(values) if len(finite) else np.full(len(values), WORST)
        count, said = len(labels), past.predict(points)
        weights = past.weights(said[0][:, :count], labels)
        g = mixed(weights, *said)[0] if len(past) else np.zeros(len(points))
        offset, slope = _line(g[:count], labels) if len(past) else (0.0, 0.0)
        unit = _unit(finite) if len(finite) > 1 else None
        rest, share = None, float(len(past) > 0)
        if len(finite) >= startup:
            left = labels - offset - slope * g[:count]
            rest = surrogate.fit(points[:count], left, seed)
            if count < len(points):
                expected = rest.predict(points[count:])[0]
                rest = surrogate.fit(points, np.append(left, expected), seed)
            share *= _explained(labels, left)
        best = None
        if len(points):
            best = float(labels.min() if len(finite) else (offset + slope * g).min())
        return cls(weights, offset, slope, rest, best, share, unit)

    def predict(self, points: Vectors, said: tuple[Vectors, Vectors]) -> tuple[Vectors, Vectors]:
        """Labels [m] expected at points [m, d] and their deviations, given what the past tasks
        `said` of them [T, m]."""
        mean, deviation = np.full(len(points), self.offset), np.zeros(len(points))
        if len(self.weights):
            expected, spread = mixed(self.weights, *said)
            mean, deviation = mean + self.slope * expected, max(self.slope, 0.1) * spread
        if self.rest is not None:
            corrected, deviation = self.rest.predict(points)
            mean = mean + corrected
        return mean, deviation


def _line(g: Vectors, labels: Vectors) -> tuple[float, float]:
    """Offset and slope of the labels [n] over what was expected, the slope at least 0 and drawn
    towards 1; (0, 1) without labels."""
    if not len(labels):
        return 0.0, 1.0
    x, y = g - g.mean(), labels - labels.mean()
    slope = (float(x @ y) + _PRIOR_SQUARES) / (float(x @ x) + _PRIOR_SQUARES)
    slope = max(slope, 0.0)
    return float(labels.mean() - slope * g.mean()), slope


def _unit(values: Vectors) -> Scale:
    """What label 0 is in units of the metric, and the distance from there to label 1."""
    best = float(values.min())
    return Scale(best, float(np.median(values)) - best)


def _explained(labels: Vectors, left: Vectors) -> float:
    """Share of the variance of labels that is not `left`, in [0, 1]."""
    total = float(labels.var())
    return min(max(1.0 - float(left.var()) / total, 0.0), 1.0) if total > 0.0 else 1.0
