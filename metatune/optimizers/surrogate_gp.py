"""A Gaussian process as a surrogate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metatune.experience.past import thinned
from metatune.optimizers.gaussian_process import GaussianProcess, fit_kernel
from metatune.optimizers.surrogate import Scale, filled
from metatune.parameters import Vectors

# The kernel is fitted to the best half of so many and every k-th of the others.
_MOST_FITTED = 120


@dataclass(frozen=True)
class GaussianProcessSurrogate:
    """A Gaussian process with a Matern-5/2 kernel, whose length-scales and variances have the
    greatest posterior density. The deviation includes the noise."""

    def __str__(self) -> str:
        return "gp"

    def fit(self, points: Vectors, labels: Vectors, seed: int) -> FittedProcess:
        """See Surrogate; nothing is drawn."""
        scale, places = Scale.of(labels), filled(points)
        values = scale.standardised(labels)
        rows = np.argsort(values, kind="stable")[thinned(len(values), _MOST_FITTED)]
        kernel = fit_kernel(places[rows], values[rows])
        return FittedProcess(GaussianProcess(places, values, kernel), scale)


@dataclass(frozen=True)
class FittedProcess:
    """A Gaussian process of standardised labels."""

    process: GaussianProcess
    scale: Scale

    def predict(self, points: Vectors) -> tuple[Vectors, Vectors]:
        """See Fitted."""
        return self.scale.restored(*self.process.predict(filled(points)))
