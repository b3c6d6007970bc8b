"""The contract of models of performance, of which an optimizer may choose one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from metatune.parameters import Vectors

# As many more rows, expected at the mean, are held to be as wrong as labels scatter.
_PRIOR_ROWS = 2.0
# Where nothing is believed, what is expected still tells which of two is better.
_LEAST_SLOPE = 0.1
# Where a parameter stands that does not exist, for models that measure distances.
_ABSENT = 0.5


class Fitted(Protocol):
    """What a surrogate has learned."""

    def predict(self, points: Vectors) -> tuple[Vectors, Vectors]:
        """Labels [m] expected at points [m, d], and their standard deviations [m], above 0."""
        ...


class Surrogate(Protocol):
    """A kind of regression, with its settings; `str()` names both.

    It keeps no state: the same points, labels and seed give the same predictions, in another
    process too.
    """

    def fit(self, points: Vectors, labels: Vectors, seed: int) -> Fitted:
        """Learn labels [n], lower is better and finite, at points [n, d], n >= 2.

        Points are mostly in [0, 1], and NaN where a parameter does not exist.
        """
        ...


@dataclass(frozen=True)
class Scale:
    """Where labels lie, and how far they scatter: 1 where all are equal."""

    centre: float
    spread: float

    @classmethod
    def of(cls, labels: Vectors) -> Scale:
        """Mean and standard deviation of labels [n]."""
        spread = float(labels.std())
        return cls(float(labels.mean()), spread if spread > 0.0 else 1.0)

    def standardised(self, labels: Vectors) -> Vectors:
        """Labels with mean 0 and deviation 1."""
        return (labels - self.centre) / self.spread

    def restored(self, mean: Vectors, deviation: Vectors) -> tuple[Vectors, Vectors]:
        """What is predicted of standardised labels, in units of the labels."""
        return self.centre + self.spread * mean, self.spread * deviation


@dataclass(frozen=True)
class Trust:
    """How far what is expected of standardised labels is to be believed, from rows that were left
    out: what is expected times `slope`, in [.1, 1], is off by `error`, a variance."""

    slope: float
    error: float

    @classmethod
    def of(cls, expected: Vectors, measured: Vectors) -> Trust:
        """From n rows that were left out; without any, little is believed."""
        squares = float(expected @ expected)
        slope = float(expected @ measured) / (squares + _PRIOR_ROWS) if len(expected) else 0.0
        slope = min(max(slope, _LEAST_SLOPE), 1.0)
        wrong = float(((slope * expected - measured) ** 2).sum())
        return cls(slope, (wrong + _PRIOR_ROWS) / (len(measured) + _PRIOR_ROWS))


def filled(points: Vectors) -> Vectors:
    """Points [n, d] with parameters that do not exist in the middle."""
    return np.where(np.isnan(points), _ABSENT, points)
