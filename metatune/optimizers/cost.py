"""What trials cost, compared with one another."""

from __future__ import annotations

import numpy as np

from metatune.experience.past import thinned
from metatune.optimizers.gaussian_process import GaussianProcess, fit_kernel
from metatune.parameters import Vectors

_FEWEST = 5
_MOST_FITTED = 120
# However cheap or dear a configuration is expected to be, it counts as within this factor.
_LIMIT = 4.0


def relative_costs(tried: Vectors, costs: Vectors, points: Vectors) -> Vectors:
    """Costs expected at points [m, d], in medians of the `costs` [n] seen at `tried` [n, d], of
    which NaN are unknown; 1 where fewer than five are known."""
    known = np.isfinite(costs)
    if known.sum() < _FEWEST:
        return np.ones(len(points))
    logs, at = np.log(costs[known]), tried[known]
    logs = logs - np.median(logs)
    spread = float(logs.std())
    if spread == 0.0:
        return np.ones(len(points))
    rows = np.argsort(logs, kind="stable")[thinned(len(logs), _MOST_FITTED)]
    process = GaussianProcess(at, logs / spread, fit_kernel(at[rows], logs[rows] / spread))
    expected = process.predict_mean(points) * spread
    costs_expected: Vectors = np.exp(np.clip(expected, -np.log(_LIMIT), np.log(_LIMIT)))
    return costs_expected
