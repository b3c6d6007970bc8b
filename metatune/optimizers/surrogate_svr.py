"""Support vector regression as a surrogate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.svm import SVR

from metatune.optimizers.surrogate import Scale, Trust, filled
from metatune.parameters import Vectors

# Widths of the kernel that are tried, in units of the median squared distance of points.
_WIDTHS = (0.3, 1.0, 3.0)
_COST, _TUBE, _TOLERANCE = 10.0, 0.05, 1e-6
# Errors that differ by a smaller share are equal.
_EQUAL = 1e-3
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class SupportVectorSurrogate:
    """Epsilon-insensitive support vector regression with a Gaussian kernel (Drucker et al. 1997),
    once for each of `bags` bootstrap samples.

    The width of the kernel is the one of three with the least squared error on the rows that a
    bag leaves out. What is expected is believed as far as these are predicted; the variance is
    that between the bags plus the error there.
    """

    bags: int = 10

    def __str__(self) -> str:
        return f"svr(bags={self.bags})"

    def fit(self, points: Vectors, labels: Vectors, seed: int) -> FittedVectors:
        """See Surrogate."""
        scale, places = Scale.of(labels), filled(points)
        values = scale.standardised(labels)
        rng = np.random.default_rng(seed)
        samples = [rng.integers(len(values), size=len(values)) for _ in range(self.bags)]
        unit = _median_distance(places)
        tried = [self._bagged(places, values, samples, width * unit) for width in _WIDTHS]
        # Of widths that are equally good rounding would choose one: the least of them.
        enough = min(trust.error for _, trust in tried) * (1.0 + _EQUAL)
        machines, trust = next(one for one in tried if one[1].error <= enough)
        return FittedVectors(machines, trust, scale)

    def _bagged(
        self,
        points: Vectors,
        values: Vectors,
        samples: Sequence[npt.NDArray[np.int64]],
        width: float,
    ) -> tuple[list[SVR], Trust]:
        """A machine for each sample, and what they are worth on what was left out."""
        machines, expected, measured = [], [np.empty(0)], [np.empty(0)]
        for sample in samples:
            machine = SVR(C=_COST, epsilon=_TUBE, gamma=1.0 / width, tol=_TOLERANCE)
            # Else it draws from NumPy's global generator, though nothing depends on the draw.
            machine.random_state = 0
            machines.append(machine.fit(points[sample], values[sample]))
            left_out = np.setdiff1d(np.arange(len(values)), sample)
            if len(left_out):
                expected.append(machine.predict(points[left_out]))
                measured.append(values[left_out])
        return machines, Trust.of(np.concatenate(expected), np.concatenate(measured))


@dataclass(frozen=True)
class FittedVectors:
    """Machines of standardised labels."""

    machines: list[SVR]
    trust: Trust
    scale: Scale

    def predict(self, points: Vectors) -> tuple[Vectors, Vectors]:
        """See Fitted."""
        places = filled(points)
        means = [self.trust.slope * machine.predict(places) for machine in self.machines]
        variance = np.var(means, axis=0) + self.trust.error + _LEAST_VARIANCE
        return self.scale.restored(np.mean(means, axis=0), np.sqrt(variance))


def _median_distance(points: Vectors) -> float:
    """Median squared distance of different points; 1 where there are none."""
    squared = cdist(points, points, "sqeuclidean")
    apart = squared[squared > 0.0]
    return float(np.median(apart)) if len(apart) else 1.0
