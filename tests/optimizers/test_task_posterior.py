from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from test_task_prior import some_prior, some_seen

from metatune.optimizers.task_posterior import TaskPosterior, _Scale, doubts, posterior
from metatune.optimizers.task_prior import Seen, TaskPrior
from metatune.optimizers.task_surrogate import WORST
from metatune.parameters import Vectors

SEEDS = st.integers(0, 10_000)
few = settings(max_examples=25, deadline=None)


def some_values(seed: int, count: int) -> Vectors:
    return np.random.default_rng(seed + 1).standard_normal(count)


@given(SEEDS, st.integers(2, 9), st.floats(1e-4, 1e4), st.floats(-1e4, 1e4))
@few
def test_units_of_values_do_not_matter(seed: int, count: int, unit: float, shift: float) -> None:
    prior, seen, values = some_prior(seed), some_seen(seed, count), some_values(seed, count)
    one = posterior(prior, seen, values)
    other = posterior(prior, seen, unit * values + shift)
    close = pytest.approx
    assert other.labels == close(one.labels, rel=1e-4, abs=1e-4)
    assert other.rate * unit == close(one.rate, rel=1e-4)
    assert other.offset == close(unit * one.offset + shift, rel=1e-4, abs=1e-4 * unit)
    asked = some_seen(seed + 2, 5)
    assert other.predict(asked)[0] == close(one.predict(asked)[0], rel=1e-3, abs=1e-3)
    assert other.predict(asked)[1] == close(one.predict(asked)[1])


@given(SEEDS, st.integers(1, 9))
@few
def test_it_is_conditioned_on_its_labels(seed: int, count: int) -> None:
    prior, seen = some_prior(seed), some_seen(seed, count + 4)
    known, asked = seen.rows(slice(count)), seen.rows(slice(count, None))
    given = posterior(prior, known, some_values(seed, count))
    noises = prior.noise + doubts(given.labels[0])
    inverse = np.linalg.inv(prior.covariance(known, known) + np.diag(noises))
    across = prior.covariance(asked, known)
    means, deviation = given.predict(asked)
    for mean, labels in zip(means, given.labels, strict=True):
        expected = asked.mean + across @ inverse @ (labels - known.mean)
        assert mean == pytest.approx(expected, abs=1e-3)
    explained = np.einsum("ij,jk,ik->i", across, inverse, across)
    variance = prior.variance(asked) - explained + prior.noise
    assert deviation**2 == pytest.approx(variance, abs=1e-3)


def test_a_diverged_trial_says_less_of_others_than_a_somewhat_worse_one() -> None:
    prior, points = TaskPrior(0.0, 0.0, 0.1, 0.01, np.ones(1)), np.asarray([[0.0], [3.0], [3.3]])
    seen = Seen.of(np.zeros((1, 3)), points, np.ones(1))

    def moved(label: float) -> float:
        labels = np.asarray([[0.0, label]] * 2)
        return float(TaskPosterior(prior, seen.rows([0, 1]), labels).predict(seen)[0][0, 2])

    assert 0.0 < moved(0.1) < moved(0.5)
    assert 0.0 < moved(2.0) < 2.0 * moved(0.5), "without doubts it would be four times that of .5"


@given(SEEDS, st.integers(4, 12))
@few
def test_what_is_novel_is_penalised_the_more_the_worse_it_turned_out(seed: int, count: int) -> None:
    prior = some_prior(seed)
    novel = (np.arange(count) % 2).astype(np.float64)
    seen = replace(some_seen(seed, count), novel=novel)
    known, asked = some_seen(seed + 2, 5), replace(some_seen(seed + 2, 5), novel=np.ones(5))
    penalties = []
    for worse in (-0.5, 0.0, 0.1, 5.0):
        labels = np.stack([seen.mean + worse * novel] * 2)
        told = TaskPosterior(prior, seen, labels)
        difference = told.predict(asked)[0] - told.predict(known)[0]
        assert np.ptp(difference) < 1e-9
        penalties.append(float(difference[0, 0]))
    assert penalties == sorted(penalties)
    assert 0.0 <= penalties[0] <= penalties[1] < 0.03 < penalties[2] <= penalties[3] <= 0.2


@given(SEEDS, st.integers(2, 9))
@few
def test_left_out_labels_are_predicted_from_the_others(seed: int, count: int) -> None:
    prior, seen = some_prior(seed), some_seen(seed, count)
    given = posterior(prior, seen, some_values(seed, count))
    means, variances = given.leave_one_out()
    for row in range(count):
        rest = [other for other in range(count) if other != row]
        covariance = prior.covariance(seen.rows(rest), seen.rows(rest))
        covariance += np.diag(prior.noise + doubts(given.labels[0])[rest])
        across = prior.covariance(seen.rows([row]), seen.rows(rest))[0]
        away = given.labels[0][rest] - seen.mean[rest]
        expected = seen.mean[row] + across @ np.linalg.solve(covariance, away)
        assert means[row] == pytest.approx(expected, abs=1e-3)
        total = prior.variance(seen)[row] + prior.noise
        explained = across @ np.linalg.solve(covariance, across)
        assert variances[row] == pytest.approx(total - explained, abs=1e-3)


@given(SEEDS, st.integers(1, 6))
@few
def test_loadings_are_how_much_of_each_past_task_is_expected(seed: int, count: int) -> None:
    """Exactly so where the new task has nothing of its own."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(4))
    values, points = rng.random((4, count + 5)), rng.random((count + 5, 2))
    prior = TaskPrior(0.0, 0.8, 0.0, 0.01, np.ones(2))
    seen = Seen.of(values, points, weights)
    known = seen.rows(slice(count))
    given = posterior(prior, known, some_values(seed, count))
    loadings = given.loadings(weights)
    assert loadings.sum() == pytest.approx(1.0)
    assert given.predict(seen)[0][0] == pytest.approx(loadings @ values, abs=1e-6)


def test_the_task_that_orders_trials_as_they_turned_out_gains() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.random((3, 12)), np.full(3, 1.0 / 3.0)
    prior = TaskPrior.unlearned(2)
    given = posterior(prior, Seen.of(values, rng.random((12, 2)), weights), 50.0 * values[1] - 7.0)
    loadings = given.loadings(weights)
    assert loadings[1] > 0.5 > 0.3 > max(loadings[0], loadings[2])


@given(SEEDS, st.integers(2, 8), st.data())
@few
def test_failed_trials_are_worst(seed: int, count: int, data: st.DataObject) -> None:
    failed = data.draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(any))
    values = np.where(failed, math.inf, some_values(seed, count))
    given = posterior(some_prior(seed), some_seen(seed, count), values)
    assert (given.labels[:, np.asarray(failed)] == WORST).all()
    assert np.isfinite(given.labels).all()
    assert given.rate > 0.0
    assert math.isfinite(given.offset)
    assert (given.labels[0] <= WORST).all()


@pytest.mark.parametrize(
    "values",
    [
        [0.3],
        [math.inf],
        [math.inf] * 5,
        [7.0] * 5,
        [7.0] * 4 + [math.inf],
        [0.0, 0.0, 0.0, 1.0],
        [1e300, -1e300, 1.0, math.inf],
        [1e-300, 2e-300, 3e-300],
        [1e9, 1e9 + 1e-6, 1e9 + 2e-6],
    ],
)
def test_any_values_will_do(values: list[float]) -> None:
    count = len(values)
    given = posterior(some_prior(0), some_seen(0, count), np.asarray(values))
    means, deviation = given.predict(some_seen(1, 6))
    assert np.isfinite(means).all()
    assert (deviation > 0.0).all()
    assert np.isfinite([given.offset, given.rate, *given.labels.ravel()]).all()
    assert np.isfinite(given.leave_one_out()).all()


@given(SEEDS, st.integers(3, 8))
@few
def test_offset_and_rate_are_more_probable_than_others(seed: int, count: int) -> None:
    prior, seen, values = some_prior(seed), some_seen(seed, count), some_values(seed, count)
    covariance = prior.covariance(seen, seen)
    offset, rate = _Scale(prior, seen, covariance, np.ones(count, dtype=bool)).profile(values)
    inverse = np.linalg.inv(covariance + prior.noise * np.eye(count))

    def loss(offset: float, rate: float) -> float:
        rest = rate * (values - offset) - seen.mean
        return float(0.5 * rest @ inverse @ rest - (count - 1) * np.log(rate))

    for step in (-0.03, 0.03):
        assert loss(offset, rate) < loss(offset + step, rate)
        shift = (1.0 + step) * rate
        moved = minimize_scalar(lambda at, rate=shift: loss(at, rate)).fun
        assert loss(offset, rate) < moved


def test_a_single_value_is_taken_as_expected() -> None:
    """Nothing can be said from it on how good it is."""
    prior, seen = some_prior(0), some_seen(0, 1)
    given = posterior(prior, seen, np.asarray([123.0]))
    assert given.labels[0] == pytest.approx(np.minimum(seen.mean, 1.0), abs=0.2)
    assert given.rate == 1.0


@given(SEEDS, st.integers(2, 7), st.integers(1, 3))
@few
def test_what_is_expected_is_no_news(seed: int, count: int, told: int) -> None:
    prior, seen = some_prior(seed), some_seen(seed, count + told + 4)
    known, asked = seen.rows(slice(count)), seen.rows(slice(count + told, None))
    running = seen.rows(slice(count, count + told))
    before = posterior(prior, known, some_values(seed, count))
    after = before.expecting(running)
    assert after.predict(asked)[0] == pytest.approx(before.predict(asked)[0], abs=1e-6)
    assert (after.predict(asked)[1] <= before.predict(asked)[1] + 1e-9).all()
    assert (after.predict(running)[1] < before.predict(running)[1]).all()
    assert (after.offset, after.rate) == (before.offset, before.rate)


def test_equal_values_have_equal_labels() -> None:
    values = np.asarray([2.0, 1.0, 2.0, 3.0, 1.0, math.inf, math.inf])
    for labels in posterior(some_prior(0), some_seen(0, 7), values).labels:
        assert labels[[0, 1, 5]] == pytest.approx(labels[[2, 4, 6]])


@given(SEEDS, st.integers(2, 9))
@few
def test_ranks_are_all_that_the_second_labels_know(seed: int, count: int) -> None:
    prior, seen, values = some_prior(seed), some_seen(seed, count), some_values(seed, count)
    labels = posterior(prior, seen, values).labels[1]
    assert posterior(prior, seen, np.exp(2.0 * values)).labels[1] == pytest.approx(labels)
    assert (np.argsort(labels) == np.argsort(values)).all()


@given(SEEDS, st.integers(2, 9))
@few
def test_the_first_labels_are_the_values_up_to_the_median(seed: int, count: int) -> None:
    values = some_values(seed, count)
    given = posterior(some_prior(seed), some_seen(seed, count), values)
    linear = given.rate * (values - given.offset)
    better = linear <= 1.0
    assert given.labels[0][better] == pytest.approx(linear[better])
    assert (given.labels[0][~better] > 1.0).all()
    assert (np.argsort(given.labels[0]) == np.argsort(values)).all()


@given(SEEDS, st.integers(3, 9), st.integers(0, 9), st.sampled_from([1e9, 1e60, math.inf]))
@few
def test_what_diverged_tells_no_scale(seed: int, count: int, ties: int, diverged: float) -> None:
    seen, rng = some_seen(seed, count + ties + 1), np.random.default_rng(seed)
    values = rng.permutation(count) + 0.5 * rng.random(count)
    values, prior = np.append(values, np.full(ties, values.min())), some_prior(seed)
    without = posterior(prior, seen.rows(slice(count + ties)), values)
    given = posterior(prior, seen, np.append(values, diverged))
    assert (given.offset, given.rate) == pytest.approx((without.offset, without.rate))
    assert given.labels[0, -1] == pytest.approx(2.0)
