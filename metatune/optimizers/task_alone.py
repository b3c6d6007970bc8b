"""What the trials of a task say about it without any experience."""

from __future__ import annotations

import numpy as np

from metatune.experience.past import thinned
from metatune.optimizers.gaussian_process import GaussianProcess, fit_kernel
from metatune.optimizers.past_surrogate import scaled
from metatune.parameters import Vectors

# With more trials than this, the kernel is fitted to the best half of as many and every k-th of
# the others.
_MOST_FITTED = 120


def fit_alone(points: Vectors, values: Vectors) -> GaussianProcess:
    """A Gaussian process of standardised labels [n] of values at points [n, d], by itself.

    Values are lower-is-better, infinite where failed; at least one is finite.
    """
    labels = scaled(values)
    spread = float(labels.std())
    standardised = (labels - labels.mean()) / (spread if spread > 0.0 else 1.0)
    rows = np.argsort(standardised, kind="stable")[thinned(len(values), _MOST_FITTED)]
    return GaussianProcess(points, standardised, fit_kernel(points[rows], standardised[rows]))
