"""A Gaussian process in [0, 1]^d: Matern 5/2 kernel, a length scale for each dimension."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from metatune.parameters import Vectors

_JITTER = 1e-8
# Log-normal priors (mean and standard deviation of the logarithm) of length scale, signal and
# noise variance, for maximum a posteriori.
_PRIOR = {"length": (np.log(0.7), 1.0), "signal": (0.0, 1.0), "noise": (np.log(1e-2), 1.5)}
_BOUNDS = {"length": (np.log(0.03), np.log(20.0)), "signal": (-3.0, 3.0), "noise": (-11.5, 0.0)}


@dataclass(frozen=True)
class GaussianProcess:
    """Fitted to standardised values `y` [n] at `x` [n, d]; `theta` are log length scales [d], log
    signal variance and log noise variance."""

    x: Vectors = field(repr=False)
    y: Vectors = field(repr=False)
    theta: Vectors
    _factor: Vectors = field(repr=False)
    _weights: Vectors = field(repr=False)

    @classmethod
    def fit(cls, x: Vectors, y: Vectors, start: Vectors | None = None) -> GaussianProcess:
        """Hyperparameters by maximum a posteriori, from `start` or else the priors' means."""
        names = ["length"] * x.shape[1] + ["signal", "noise"]
        mean, deviation = np.asarray([_PRIOR[name] for name in names]).T
        squares = (x.T[:, :, None] - x.T[:, None, :]) ** 2  # [d, n, n]

        def loss(theta: Vectors) -> tuple[float, Vectors]:
            value, slope = _negative_log_likelihood(theta, squares, y)
            away = (theta - mean) / deviation
            return value + 0.5 * float(away @ away), slope + away / deviation

        bounds = [_BOUNDS[name] for name in names]
        options = {"maxiter": 50}
        begin = mean if start is None else start
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return cls.given(x, y, found.x)

    @classmethod
    def given(cls, x: Vectors, y: Vectors, theta: Vectors) -> GaussianProcess:
        """The process with known hyperparameters."""
        covariance = _kernel(x, x, theta) + (np.exp(theta[-1]) + _JITTER) * np.eye(len(x))
        factor = cholesky(covariance, lower=True)
        return cls(x, y, theta, factor, cho_solve((factor, True), y))

    def predict(self, x: Vectors) -> tuple[Vectors, Vectors]:
        """Mean and variance [m] of the noiseless function at `x` [m, d]."""
        cross = _kernel(x, self.x, self.theta)
        reduced = solve_triangular(self._factor, cross.T, lower=True)
        variance = np.exp(self.theta[-2]) - (reduced**2).sum(axis=0)
        return cross @ self._weights, np.maximum(variance, 1e-12)

    def sample(self, x: Vectors, count: int, rng: np.random.Generator) -> Vectors:
        """`count` joint draws [count, m] of the noiseless function at `x` [m, d]."""
        cross = _kernel(x, self.x, self.theta)
        reduced = solve_triangular(self._factor, cross.T, lower=True)
        covariance = _kernel(x, x, self.theta) - reduced.T @ reduced
        factor = cholesky(covariance + 1e-6 * np.exp(self.theta[-2]) * np.eye(len(x)), lower=True)
        draws: Vectors = cross @ self._weights + rng.standard_normal((count, len(x))) @ factor.T
        return draws

    def leave_one_out(self) -> tuple[Vectors, Vectors]:
        """Mean and variance [n] of each value given the others (Rasmussen & Williams 5.12)."""
        precision = np.diag(cho_solve((self._factor, True), np.eye(len(self.x))))
        return self.y - self._weights / precision, 1.0 / precision


def _kernel(a: Vectors, b: Vectors, theta: Vectors) -> Vectors:
    lengths = np.exp(theta[:-2])
    a, b = a / lengths, b / lengths
    square = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    r = np.sqrt(5.0 * np.maximum(square, 0.0))
    matern: Vectors = np.exp(theta[-2]) * (1.0 + r + r**2 / 3.0) * np.exp(-r)
    return matern


def _negative_log_likelihood(theta: Vectors, squares: Vectors, y: Vectors) -> tuple[float, Vectors]:
    """Of values [n] with squared differences [d, n, n], and its gradient."""
    inverse_squares = np.exp(-2.0 * theta[:-2])
    signal, noise = np.exp(theta[-2:])
    r = np.sqrt(5.0 * np.tensordot(inverse_squares, squares, axes=1))
    decay = signal * np.exp(-r)
    kernel = (1.0 + r + r**2 / 3.0) * decay
    factor = cholesky(kernel + (noise + _JITTER) * np.eye(len(y)), lower=True)
    weights = cho_solve((factor, True), y)
    value = 0.5 * float(y @ weights) + float(np.log(np.diag(factor)).sum())
    inner = cho_solve((factor, True), np.eye(len(y))) - np.outer(weights, weights)
    by_square = inner * (5.0 / 3.0) * (1.0 + r) * decay
    lengths = 0.5 * np.tensordot(squares, by_square, axes=2) * inverse_squares
    slopes = [0.5 * float((inner * kernel).sum()), 0.5 * noise * float(np.trace(inner))]
    return value, np.concatenate([lengths, slopes])
