"""Adjusting the learned prior to the task at hand."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize

from metatune.experience.past import thinned
from metatune.optimizers.gaussian_process import JITTER
from metatune.optimizers.task_posterior import TaskPosterior, doubts, posterior, scaled_by
from metatune.optimizers.task_prior import Seen, TaskPrior
from metatune.parameters import Vectors

# How far a task may be from the past ones: standard deviations of the logarithm of the four
# variances, and of one factor for all length-scales. Furthest from what the others are like is a
# task on which they mislead.
_SPREAD = np.asarray([2.0, 1.0, 1.0, 1.0, 0.5])
_FURTHEST = 4.0
_EVALUATIONS = 15
# Finite values from which the prior is adjusted, and at most how many labels it is adjusted to.
_FEWEST = 5
_MOST = 120


def adjusted(prior: TaskPrior, seen: Seen, values: Vectors) -> TaskPosterior:
    """`posterior` under the prior adjusted to the values [n] themselves, if these are enough."""
    if np.isfinite(values).sum() < _FEWEST:
        return posterior(prior, seen, values)
    labels, _, _ = scaled_by(prior, seen, prior.covariance(seen, seen), values)
    rows = np.argsort(labels, kind="stable")[thinned(len(values), _MOST)]
    nearer = refitted(prior, seen.rows(rows.tolist()), labels[rows])
    return posterior(nearer, seen, values)


def refitted(prior: TaskPrior, seen: Seen, labels: Vectors) -> TaskPrior:
    """The prior under which labels [n] are most probable, not far from what was learned."""
    learned = np.log([prior.slope, prior.spread, prior.own, prior.noise])
    slope = np.outer(seen.mean, seen.mean)
    spread = seen.deviations @ seen.deviations.T
    points = seen.points / prior.scales
    distance = np.sqrt(
        5.0 * np.maximum(((points[:, None, :] - points[None, :, :]) ** 2).sum(-1), 0.0)
    )
    diagonal = np.diag_indices(len(labels))
    slope[diagonal] *= 1.0 + JITTER
    spread[diagonal] *= 1.0 + JITTER
    ones, doubted = np.ones(len(labels)), doubts(labels)

    def objective(step: Vectors) -> tuple[float, Vectors]:
        variances = np.exp(learned + step[:4])
        scaled = distance * np.exp(-step[4])
        decay = variances[2] * np.exp(-scaled)
        own = (1.0 + scaled + scaled**2 / 3.0) * decay
        own[diagonal] *= 1.0 + JITTER
        total = variances[0] * slope + variances[1] * spread + own
        total[diagonal] += variances[3] + doubted
        root = cholesky(total, lower=True, check_finite=False)
        inverse = cho_solve((root, True), np.eye(len(labels)), check_finite=False)
        rest = labels - seen.mean
        weights = inverse @ (rest - (ones @ inverse @ rest) / inverse.sum())
        loss = 0.5 * float(rest @ weights) + float(np.log(root[diagonal]).sum())
        inner = 0.5 * (inverse - np.outer(weights, weights))
        gradient = np.asarray(
            [
                variances[0] * (inner * slope).sum(),
                variances[1] * (inner * spread).sum(),
                (inner * own).sum(),
                variances[3] * np.trace(inner),
                (inner * decay * scaled**2 * (1.0 + scaled) / 3.0).sum(),
            ]
        )
        deviation = step / _SPREAD
        return loss + 0.5 * float(deviation @ deviation), gradient + deviation / _SPREAD

    options = {"maxfun": _EVALUATIONS}
    bounds = [(-_FURTHEST, _FURTHEST)] * 5
    found = minimize(
        objective, np.zeros(5), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    ).x
    scales = prior.scales * np.exp(found[4])
    return TaskPrior.of(np.append(np.exp(learned + found[:4]), scales))
