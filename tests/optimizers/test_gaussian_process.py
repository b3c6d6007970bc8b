from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from sklearn.gaussian_process.kernels import Matern

from metatune.optimizers import gaussian_process
from metatune.optimizers.gaussian_process import (
    GaussianProcess,
    Kernel,
    fit_kernel,
    matern52,
)
from metatune.parameters import Vectors

SEEDS = st.integers(0, 10_000)
few = settings(max_examples=15, deadline=None)


def drawn(seed: int, count: int, kernel: Kernel) -> tuple[Vectors, Vectors]:
    """Points in a unit cube, and values drawn from the process there, noise included."""
    rng = np.random.default_rng(seed)
    points = rng.random((count, len(kernel.scales)))
    covariance = kernel.between(points, points) + kernel.noise * np.eye(count)
    return points, np.linalg.cholesky(covariance) @ rng.standard_normal(count)


def some_process(seed: int, count: int = 9) -> GaussianProcess:
    kernel = Kernel(1.3, 0.05, np.asarray([0.3, 0.9]))
    points, values = drawn(seed, count, kernel)
    return GaussianProcess(points, values + 3.0, kernel)


@given(SEEDS)
@few
def test_correlations_are_matern_5_2(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((4, 3)), rng.random((6, 3))
    scales = rng.random(3) + 0.1
    assert matern52(a / scales, b / scales) == pytest.approx(Matern(scales, nu=2.5)(a, b), abs=1e-7)
    assert np.diag(matern52(a, a)) == pytest.approx(1.0)


@given(SEEDS, st.integers(2, 12), st.integers(1, 4))
@few
def test_the_gradient_is_that_of_the_evidence(seed: int, count: int, dimensions: int) -> None:
    rng = np.random.default_rng(seed)
    points, values = rng.random((count, dimensions)), rng.standard_normal(count)
    squared = gaussian_process._squared_differences(points)
    at = rng.uniform(-1.5, 0.5, dimensions + 2)

    def loss(at: Vectors) -> float:
        return gaussian_process._evidence(at, squared, values)[0]

    gradient = gaussian_process._evidence(at, squared, values)[1]
    assert gradient == pytest.approx(approx_fprime(at, loss, 1e-6), rel=1e-3, abs=1e-3)


@given(SEEDS)
@few
def test_the_evidence_is_the_density_of_the_values(seed: int) -> None:
    kernel = Kernel(0.7, 0.1, np.asarray([0.4, 0.8]))
    points, values = drawn(seed, 8, kernel)
    covariance = kernel.between(points, points) + kernel.noise * np.eye(8)
    expected = 0.5 * values @ np.linalg.solve(covariance, values)
    expected += 0.5 * np.linalg.slogdet(covariance)[1]
    at = np.log([*kernel.scales, kernel.signal, kernel.noise])
    squared = gaussian_process._squared_differences(points)
    loss, _ = gaussian_process._evidence(at, squared, values)
    assert loss == pytest.approx(expected, abs=1e-3)


@given(SEEDS)
@few
def test_left_out_values_are_predicted_from_the_others(seed: int) -> None:
    process = some_process(seed)
    points, kernel, values = process._points, process.kernel, process.values
    means, variances = process.leave_one_out()
    for row in range(len(values)):
        rest = np.arange(len(values)) != row
        covariance = kernel.between(points[rest], points[rest])
        covariance += kernel.noise * np.eye(len(covariance))
        across = kernel.between(points[row : row + 1], points[rest])[0]
        mean = process.mean + across @ np.linalg.solve(covariance, values[rest] - process.mean)
        explained = across @ np.linalg.solve(covariance, across)
        assert means[row] == pytest.approx(mean, abs=1e-3)
        assert variances[row] == pytest.approx(kernel.signal + kernel.noise - explained, abs=1e-3)


@given(SEEDS, st.integers(0, 4))
@few
def test_what_is_expected_is_no_news(seed: int, count: int) -> None:
    """Told that points have the values expected, it expects the same, and is surer."""
    process = some_process(seed)
    rng = np.random.default_rng(seed + 1)
    told, asked = rng.random((count, 2)), rng.random((20, 2))
    after = process.expecting(told)
    assert after.mean == pytest.approx(process.mean, abs=1e-9)
    assert after.predict_mean(asked) == pytest.approx(process.predict_mean(asked), abs=1e-9)
    deviations, before = after.predict(asked)[1], process.predict(asked)[1]
    assert (deviations <= before + 1e-12).all()
    if count:
        assert (after.predict(told)[1] < process.predict(told)[1]).all()


def test_it_knows_what_it_saw_and_elsewhere_the_mean() -> None:
    points = np.linspace(0.0, 1.0, 5)[:, None]
    values = np.asarray([3.0, 1.0, 4.0, 1.0, 5.0])
    process = GaussianProcess(points, values, Kernel(2.0, 1e-8, np.asarray([0.1])))
    expected, deviation = process.predict(points)
    assert expected == pytest.approx(values, abs=1e-4)
    assert deviation.max() < 2e-3
    assert process.predict_mean(points) == pytest.approx(expected)
    far, unsure = process.predict(np.asarray([[50.0]]))
    assert far[0] == pytest.approx(process.mean)
    assert unsure[0] == pytest.approx(math.sqrt(2.0))
    assert 1.0 < process.mean < 5.0


@given(SEEDS, st.floats(-1e3, 1e3))
@few
def test_shifted_values_shift_the_prediction_alone(seed: int, shift: float) -> None:
    process = some_process(seed)
    other = GaussianProcess(process._points, process.values + shift, process.kernel)
    asked = np.random.default_rng(seed).random((6, 2))
    assert other.predict_mean(asked) - shift == pytest.approx(process.predict_mean(asked), abs=1e-6)
    assert other.predict(asked)[1] == pytest.approx(process.predict(asked)[1])


@pytest.mark.parametrize("noise", [0.003, 0.3])
def test_what_values_were_drawn_from_is_found(noise: float) -> None:
    """Noise and length-scales within a factor of two, and a dimension that does not matter."""
    truth = Kernel(1.0, noise, np.asarray([0.4, 50.0]))
    found = [fit_kernel(*drawn(seed, 70, truth), evaluations=80) for seed in range(4)]
    assert 0.5 < np.median([kernel.noise for kernel in found]) / noise < 2.0
    assert 0.5 < np.median([kernel.scales[0] for kernel in found]) / 0.4 < 2.0
    assert np.median([kernel.scales[1] / kernel.scales[0] for kernel in found]) > 1.5


def test_little_is_learned_from_little() -> None:
    kernel = fit_kernel(np.asarray([[0.5, 0.5]]), np.asarray([0.0]))
    assert kernel.noise == pytest.approx(0.02, rel=0.5)
    assert kernel.scales == pytest.approx(0.7, rel=0.01)
    twice = fit_kernel(np.asarray([[0.5, 0.5]] * 6), np.asarray([-1.0, 1.0] * 3))
    assert twice.noise > 0.2, "equal points with different values are noise"
