"""Experience is believed as far as it predicts."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_ndtr

from metatune.parameters import Vectors

# Log-odds for experience before the first trial.
_PRIOR = 2.0
_FEWEST = 3


def memory_weight(
    memory: tuple[Vectors, Vectors], alone: tuple[Vectors, Vectors], values: Vectors
) -> float:
    """Probability in [0, 1] that experience predicts this task better than its trials alone.

    Each side gives the mean and variance [n] that it predicts of each of the values seen, in
    units of its own, from all the others. They are compared by how likely the order of every two
    values was to them, a trial counting once; prior odds are for experience.
    """
    if len(values) < _FEWEST:
        return 1.0
    return float(
        expit(_PRIOR + order_likelihood(*memory, values) - order_likelihood(*alone, values))
    )


def order_likelihood(mean: Vectors, variance: Vectors, values: Vectors) -> float:
    """Log likelihood of the order of n values to independent predictions, summed over pairs and
    divided by half of the number of others that a trial is compared with."""
    first, second = np.triu_indices(len(values), k=1)
    a, b = values[first], values[second]
    order = (a > b).astype(np.float64) - (a < b)
    deviation = np.sqrt(variance[first] + variance[second])
    likelihood = log_ndtr(order * (mean[first] - mean[second]) / deviation)
    return float(likelihood[order != 0.0].sum() * 2.0 / (len(values) - 1))
