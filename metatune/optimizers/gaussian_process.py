"""Gaussian process regression with a Matern-5/2 kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize
from scipy.spatial.distance import cdist, pdist, squareform

from metatune.parameters import Vectors

# Share of its variance that is added to that of every value, for the sake of Cholesky roots.
JITTER = 1e-6
# Log-normal priors (mean, standard deviation of the logarithm): length-scales in a unit cube of
# seven dimensions, growing with the root of their number; variances of standardised values.
_SCALE, _SCALE_SPREAD = np.log(0.7), 1.0
_SIGNAL, _SIGNAL_SPREAD = 0.0, 1.0
_NOISE, _NOISE_SPREAD = np.log(0.02), 1.5
_BOUNDS = 7.0


@dataclass(frozen=True)
class Kernel:
    """Variance of the signal, of the noise, and length-scales [d]."""

    signal: float
    noise: float
    scales: Vectors

    def between(self, a: Vectors, b: Vectors) -> Vectors:
        """Covariances [n, m] of the signal at points [n, d] and [m, d]."""
        return self.signal * matern52(a / self.scales, b / self.scales)


def matern52(a: Vectors, b: Vectors) -> Vectors:
    """Matern-5/2 correlations [n, m] of points [n, d] and [m, d] in units of length-scales.

    Each is the same whatever the other points, to the bit.
    """
    distance: Vectors = cdist(a, b)
    distance *= np.sqrt(5.0)
    # In place, for it is asked of a million pairs at a time:
    # (1 + distance + distance^2 / 3) exp(-distance)
    correlations = distance**2
    correlations /= 3.0
    correlations += 1.0 + distance
    np.negative(distance, out=distance)
    correlations *= np.exp(distance, out=distance)
    return correlations


class GaussianProcess:
    """Values [n] at points [n, d], conditioned on; the mean is flat."""

    def __init__(self, points: Vectors, values: Vectors, kernel: Kernel) -> None:
        self._points, self.values, self.kernel = points, values, kernel
        covariance = kernel.between(points, points)
        diagonal = np.diag_indices(len(points))
        covariance[diagonal] = covariance[diagonal] * (1.0 + JITTER) + kernel.noise
        self._root = cholesky(covariance, lower=True, check_finite=False)
        ones = _whiten(self._root, np.ones(len(points)))
        self.mean = float(ones @ _whiten(self._root, values) / (ones @ ones))
        self._weights = cho_solve((self._root, True), values - self.mean, check_finite=False)

    def predict_mean(self, points: Vectors) -> Vectors:
        """Expected values [m] at points [m, d], each the same whatever the others, to the bit."""
        covariance = self.kernel.between(points, self._points)
        expected: Vectors = self.mean + (covariance * self._weights).sum(axis=1)
        return expected

    def predict(self, points: Vectors) -> tuple[Vectors, Vectors]:
        """Expected values and standard deviations [m], noise included, of new measurements."""
        covariance = self.kernel.between(points, self._points)
        explained = _whiten(self._root, covariance.T)
        variance = self.kernel.signal - (explained**2).sum(0)
        expected = self.mean + covariance @ self._weights
        return expected, np.sqrt(np.maximum(variance, 0.0) + self.kernel.noise)

    def expecting(self, points: Vectors) -> GaussianProcess:
        """The same, told that points [m, d] have the values that are expected of them."""
        if not len(points):
            return self
        values = np.append(self.values, self.predict_mean(points))
        return GaussianProcess(np.concatenate([self._points, points]), values, self.kernel)

    def leave_one_out(self) -> tuple[Vectors, Vectors]:
        """Mean and variance [n] predicted of each value from all the others.

        Rasmussen and Williams (2006), equations 5.10-5.12.
        """
        return left_out(self._root, self._weights, self.values)


def left_out(root: Vectors, weights: Vectors, values: Vectors) -> tuple[Vectors, Vectors]:
    """Leave-one-out mean and variance [n] from a Cholesky root [n, n] and K^-1 (y - mean) [n]."""
    inverse_root, _ = lapack.dtrtri(root, lower=1)
    precision = (inverse_root**2).sum(axis=0)
    return values - weights / precision, 1.0 / precision


def _whiten(root: Vectors, right: Vectors) -> Vectors:
    solved: Vectors = solve_triangular(root, right, lower=True, check_finite=False)
    return solved


def fit_kernel(points: Vectors, values: Vectors, evaluations: int = 40) -> Kernel:
    """Kernel of greatest posterior density for values [n] at points [n, d], both as they are:
    values should be standardised. Quasi-Newton steps from the prior's mode."""
    dimensions = points.shape[1]
    prior = np.full(dimensions + 2, _SCALE + 0.5 * np.log(max(dimensions, 7) / 7.0))
    spread = np.full(dimensions + 2, _SCALE_SPREAD)
    prior[-2:], spread[-2:] = (_SIGNAL, _NOISE), (_SIGNAL_SPREAD, _NOISE_SPREAD)
    squared = _squared_differences(points)
    centred = values - values.mean()

    def objective(at: Vectors) -> tuple[float, Vectors]:
        loss, gradient = _evidence(at, squared, centred)
        deviation = (at - prior) / spread
        return loss + 0.5 * float(deviation @ deviation), gradient + deviation / spread

    bounds = [(centre - _BOUNDS, centre + _BOUNDS) for centre in prior]
    options = {"maxfun": evaluations}
    found = minimize(objective, prior, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return Kernel(float(np.exp(found.x[-2])), float(np.exp(found.x[-1])), np.exp(found.x[:-2]))


def _squared_differences(points: Vectors) -> Vectors:
    """[d, n (n - 1) / 2] of every two of n points [n, d], by column, in the order of pdist."""
    return np.stack([pdist(column[:, None], "sqeuclidean") for column in points.T])


def _evidence(at: Vectors, squared: Vectors, values: Vectors) -> tuple[float, Vectors]:
    """Negative log evidence and its gradient by log length-scales, log signal and log noise.

    `squared` are `_squared_differences`. Rasmussen and Williams (2006), equation 5.9.
    """
    weights = np.exp(-2.0 * at[:-2])
    signal, noise = np.exp(at[-2:])
    distance = np.sqrt(5.0 * (weights @ squared))
    decay = signal * np.exp(-distance)
    covariance = (1.0 + distance + distance**2 / 3.0) * decay
    total = squareform(covariance, checks=False)
    total[np.diag_indices(len(values))] = signal * (1.0 + JITTER) + noise
    root = cholesky(total, lower=True, check_finite=False)
    solved = cho_solve((root, True), values, check_finite=False)
    loss = 0.5 * float(values @ solved) + float(np.log(root.diagonal()).sum())
    inverse, _ = lapack.dpotri(root, lower=1)  # its upper half is not filled in
    inner = inverse.T - np.outer(solved, solved)
    own, between = float(inner.trace()), squareform(inner, checks=False)
    scales = (5.0 / 3.0) * (squared @ (between * decay * (1.0 + distance))) * weights
    by_signal = float(between @ covariance) + 0.5 * signal * (1.0 + JITTER) * own
    return loss, np.append(scales, [by_signal, 0.5 * noise * own])
