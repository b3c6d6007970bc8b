"""What the learned prior says once some trials of the new task are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import ndtri
from scipy.stats import rankdata

from metatune.optimizers.gaussian_process import JITTER, left_out
from metatune.optimizers.past_surrogate import squashed
from metatune.optimizers.task_prior import Seen, TaskPrior
from metatune.optimizers.task_surrogate import LARGEST, WORST
from metatune.parameters import Vectors

_ROUNDS = 3
# How much worse than past tasks expect what none of them measured is taken to be: mean and standard
# deviation, and the most. What looks best among much that was not measured owes that to errors.
_NOVELTY = 0.03
_MOST_NOVELTY = 0.2
# Standard deviation of what else may have made a trial worse than the best, as a share of that.
_DOUBT = 0.25
# How many times further from the best than the median a value may be that tells the scale.
_TELLING = 10.0


class TaskPosterior:
    """The task-basis process given labels [2, n] at n configurations.

    It is conditioned twice, see `posterior`: `labels` are of two kinds, both on the scale of f.
    `offset` and `rate` turn values into the first: f = rate (value - offset). Worse labels are
    believed less: `doubted` are variances [n] beside the noise, by default `doubts`. What is novel
    is expected to be worse by a penalty, found from the labels too (the optimizer's curse; Smith &
    Winkler 2006). `covariance` [n, n] is the prior's between the n, where it is known already.
    """

    def __init__(
        self,
        prior: TaskPrior,
        seen: Seen,
        labels: Vectors,
        offset: float = 0.0,
        rate: float = 1.0,
        doubted: Vectors | None = None,
        covariance: Vectors | None = None,
    ) -> None:
        self._prior, self._seen = prior, seen
        self.labels, self.offset, self.rate = labels, offset, rate
        self._doubted = doubts(labels[0]) if doubted is None else doubted
        covariance = prior.covariance(seen, seen) if covariance is None else covariance
        self._root = _root(covariance, prior.noise + self._doubted)
        self._penalties = self._penalised()
        expected = seen.mean + self._penalties[:, None] * seen.novel
        self._weights = _solved(self._root, (labels - expected).T).T

    def expecting(self, seen: Seen) -> TaskPosterior:
        """The same, told that m further configurations have the labels expected of them."""
        labels = np.concatenate([self.labels, self.predict(seen)[0]], axis=1)
        joined = Seen.joined([self._seen, seen])
        doubted = np.append(self._doubted, np.zeros(len(seen.mean)))
        return TaskPosterior(self._prior, joined, labels, self.offset, self.rate, doubted)

    def predict(self, seen: Seen) -> tuple[Vectors, Vectors]:
        """Means [2, m], by either kind of labels, and standard deviation [m] of f as it would be
        measured at m configurations."""
        covariance = self._prior.covariance(seen, self._seen)
        explained = solve_triangular(self._root, covariance.T, lower=True, check_finite=False)
        variance = self._prior.variance(seen) - (explained**2).sum(0)
        means = seen.mean + self._penalties[:, None] * seen.novel + self._weights @ covariance.T
        return means, np.sqrt(np.maximum(variance, 0.0) + self._prior.noise)

    def leave_one_out(self) -> tuple[Vectors, Vectors]:
        """Mean and variance [n] predicted of each of the first labels from all the others."""
        mean, variance = left_out(self._root, self._weights[0], self.labels[0])
        return mean, variance - self._doubted

    def loadings(self, weights: Vectors) -> Vectors:
        """How much of each past task [T] is in the expected function, given their prior weights:
        the prior's own weights plus what the trials added."""
        gained = np.sqrt(weights) * (self._seen.deviations.T @ self._weights[0])
        loadings: Vectors = weights + self._prior.spread * gained
        return loadings

    def _penalised(self) -> Vectors:
        """The penalties [2] on what is novel that are most probable by either kind of labels."""
        novel = self._seen.novel
        solved, certainty = _solved(self._root, novel), _NOVELTY**-2
        shown = (self.labels - self._seen.mean) @ solved + _NOVELTY * certainty
        penalties: Vectors = np.clip(shown / (novel @ solved + certainty), 0.0, _MOST_NOVELTY)
        return penalties


def posterior(prior: TaskPrior, seen: Seen, values: Vectors) -> TaskPosterior:
    """Given values [n], infinite ones failed, at n configurations.

    The first labels are `scaled_by`; the second are normal scores of the ranks (Salinas et al.
    2020), scaled likewise.
    """
    covariance = prior.covariance(seen, seen)
    labels, offset, rate = scaled_by(prior, seen, covariance, values)
    ran = np.isfinite(values)
    ranked = labels
    if ran.any():
        scores = ndtri((rankdata(_finite(values)) - 0.5) / len(values))
        own_offset, own_rate = _Scale(prior, seen, covariance, ran).profile(scores[ran])
        ranked = np.where(ran, own_rate * (scores - own_offset), WORST)
    labels = np.stack([labels, ranked])
    return TaskPosterior(prior, seen, labels, offset, rate, covariance=covariance)


def scaled_by(
    prior: TaskPrior, seen: Seen, covariance: Vectors, values: Vectors
) -> tuple[Vectors, float, float]:
    """Labels [n] of values [n], infinite ones failed, at n configurations whose covariance under
    the prior is given [n, n]; and offset and rate.

    Those worse than the estimated median are squashed as the labels of past tasks were, offset and
    rate being found in turn with the labels. What failed has no say in these, nor has the value of
    what diverged.
    """
    ran = np.isfinite(values)
    if not ran.any():
        return np.full(len(values), WORST), 0.0, 1.0
    given = _finite(values)
    telling = ran & (given <= _furthest(given[ran]))
    scale, known = _Scale(prior, seen, covariance, telling), given[telling]
    labels, offset, rate = known, 0.0, 1.0
    for _ in range(_ROUNDS):
        offset, rate = scale.profile(labels)
        labels = offset + squashed(rate * (known - offset)) / rate
    return np.where(ran, squashed(rate * (given - offset)), WORST), offset, rate


def _finite(values: Vectors) -> Vectors:
    """Values [n], at least one of them finite; infinite ones as bad as the worst of the others."""
    failed = ~np.isfinite(values)
    return np.clip(np.where(failed, values[~failed].max(), values), -LARGEST, LARGEST)


def _furthest(values: Vectors) -> float:
    """The worst of finite values [n] that tells a scale: from what diverged one would be found on
    which all others are alike. Equal values count once, lest the best be the median."""
    different = np.unique(values)
    best, median = float(different[0]), float(np.median(different))
    return best + _TELLING * (median - best)


class _Scale:
    """What offset and rate are most probable by the values of some of n configurations."""

    def __init__(
        self, prior: TaskPrior, seen: Seen, covariance: Vectors, some: npt.NDArray[np.bool_]
    ) -> None:
        self._mean = seen.mean[some]
        self._root = _root(covariance[np.ix_(some, some)], np.full(some.sum(), prior.noise))
        self._inverse_one = _solved(self._root, np.ones(len(self._mean)))

    def profile(self, values: Vectors) -> tuple[float, float]:
        """The most probable offset and rate, were `values` [n] = offset + f / rate."""
        count, mean, inverse_one = len(values), self._mean, self._inverse_one
        ones = inverse_one.sum()
        extent = float(np.ptp(values))
        if count == 1 or extent < 1e-12 * max(1.0, float(np.abs(values).max())):
            return float(values.mean() - (inverse_one @ mean) / ones), 1.0
        centred = values - (inverse_one @ values) / ones
        expected = mean - (inverse_one @ mean) / ones
        solved = _solved(self._root, centred)
        yy, yg = float(centred @ solved), float(expected @ solved)
        rate = (yg + np.sqrt(yg**2 + 4.0 * (count - 1) * yy)) / (2.0 * yy)
        return float(inverse_one @ (values - mean / rate) / ones), float(rate)


def doubts(labels: Vectors) -> Vectors:
    """Variances [n], beside that of the noise, of labels [n]: the worse one is, the less it says of
    others. Without it a diverged trial where good ones were expected would outweigh them all."""
    variances: Vectors = (_DOUBT * (labels - labels.min())) ** 2
    return variances


def _root(covariance: Vectors, noise: Vectors) -> Vectors:
    """Cholesky root of a covariance [n, n] with variances [n] of noise added."""
    noisy = covariance.copy()
    diagonal = np.diag_indices(len(noise))
    noisy[diagonal] = noisy[diagonal] * (1.0 + JITTER) + noise
    root: Vectors = cholesky(noisy, lower=True, check_finite=False)
    return root


def _solved(root: Vectors, right: Vectors) -> Vectors:
    solved: Vectors = cho_solve((root, True), right, check_finite=False)
    return solved
