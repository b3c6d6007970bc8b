from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from metatune.optimizers import task_prior
from metatune.optimizers.task_prior import Seen, TaskPrior, learn_prior
from metatune.parameters import Vectors

SEEDS = st.integers(0, 10_000)
few = settings(max_examples=20, deadline=None)


def some_prior(seed: int, dimensions: int = 2) -> TaskPrior:
    return TaskPrior.of(np.exp(np.random.default_rng(seed).uniform(-2.0, 0.5, 4 + dimensions)))


def some_seen(seed: int, count: int, tasks: int = 3, dimensions: int = 2) -> Seen:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(tasks))
    return Seen.of(2.0 * rng.random((tasks, count)), rng.random((count, dimensions)), weights)


def evidence(prior: TaskPrior, seen: Seen, labels: Vectors) -> float:
    """Negative log evidence that learning minimises."""
    at = np.log([prior.slope, prior.spread, prior.own, prior.noise, *prior.scales])
    parts = (seen.mean, seen.deviations, seen.points, labels)
    return float(
        task_prior._negative_log_evidence(
            torch.tensor(at), *(torch.tensor(part[None]) for part in parts)
        )[0]
    )


@given(SEEDS, st.integers(1, 8), st.integers(1, 5))
@few
def test_covariances_are_covariances(seed: int, count: int, tasks: int) -> None:
    prior, seen = some_prior(seed), some_seen(seed, count, tasks)
    covariance = prior.covariance(seen, seen)
    assert covariance == pytest.approx(covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9
    assert prior.variance(seen) == pytest.approx(np.diag(covariance), abs=1e-6)
    first, rest = seen.rows(slice(1)), seen.rows(list(range(1, count)))
    assert prior.covariance(first, rest) == pytest.approx(covariance[:1, 1:], abs=1e-9)
    joined = Seen.joined([first, rest])
    assert prior.covariance(joined, joined) == pytest.approx(covariance, abs=1e-9)


@given(SEEDS)
@few
def test_the_spread_is_how_past_tasks_vary(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = rng.random((4, 6)), rng.dirichlet(np.ones(4))
    seen = Seen.of(values, rng.random((6, 2)), weights)
    assert seen.mean == pytest.approx(np.average(values, axis=0, weights=weights))
    expected = np.cov(values, rowvar=False, aweights=weights, ddof=0)
    assert seen.deviations @ seen.deviations.T == pytest.approx(expected)


@given(SEEDS, st.integers(3, 7))
@few
def test_the_offset_is_whatever_it_may_be(seed: int, count: int) -> None:
    """The evidence in closed form is the integral over all offsets, found by brute force."""
    prior, seen = some_prior(seed), some_seen(seed, count)
    labels = 3.0 * np.random.default_rng(seed + 1).random(count) - 1.0
    covariance = prior.covariance(seen, seen) + prior.noise * np.eye(count)
    offsets = np.linspace(-40.0, 40.0, 80_001)
    rest = (labels - seen.mean)[:, None] - offsets
    terms = -0.5 * (rest * np.linalg.solve(covariance, rest)).sum(0)
    step = offsets[1] - offsets[0]
    integral = logsumexp(terms) + np.log(step) - 0.5 * np.log(2.0 * np.pi)
    expected = 0.5 * np.linalg.slogdet(covariance)[1] - integral
    assert evidence(prior, seen, labels) == pytest.approx(expected, abs=1e-3)


@given(SEEDS, st.floats(-5.0, 5.0))
@few
def test_where_labels_begin_costs_nothing(seed: int, shift: float) -> None:
    prior, seen = some_prior(seed), some_seen(seed, 6)
    labels = np.random.default_rng(seed + 1).random(6)
    shifted = evidence(prior, seen, labels + shift)
    assert shifted == pytest.approx(evidence(prior, seen, labels), abs=1e-5)


def tasks(seed: int, noise: float, own: float) -> list[tuple[Vectors, Vectors, Vectors]]:
    """Four tasks, each the average of the others' values and something of its own."""
    rng = np.random.default_rng(seed)
    sets = []
    for number in range(4):
        points = rng.random((60, 2))
        values = ((points - 0.5) ** 2).sum(1) * 4.0 + 0.05 * rng.standard_normal((3, 60))
        other = own * np.sin(9.0 * points[:, 0] + number)
        sets.append((values, points, values.mean(0) + other + noise * rng.standard_normal(60)))
    return sets


@cache
def learned(noise: float, own: float) -> TaskPrior:
    return learn_prior(tasks(0, noise, own), 0)


def test_variances_have_the_measure_of_labels() -> None:
    doubled = [(values, points, 2.0 * labels) for values, points, labels in tasks(0, 0.01, 0.5)]
    assert learn_prior(doubled, 0).own > 2.0 * learned(0.01, 0.5).own


def test_what_past_tasks_were_like_is_learned() -> None:
    quiet, noisy, different = learned(0.01, 0.0), learned(0.4, 0.0), learned(0.01, 0.5)
    assert quiet.noise < 0.1 * noisy.noise
    assert quiet.own < 0.5 * different.own
    assert different.scales[0] < different.scales[1], "what is different is so along the first"


def test_tasks_not_seen_are_more_probable_than_under_the_unlearned() -> None:
    for settings_ in ((0.01, 0.0), (0.4, 0.0), (0.01, 0.5)):
        for values, points, labels in tasks(7, *settings_):
            seen = Seen.of(values[:, :25], points[:25], np.full(3, 1.0 / 3.0))
            unlearned = evidence(TaskPrior.unlearned(2), seen, labels[:25])
            assert evidence(learned(*settings_), seen, labels[:25]) < unlearned


def test_it_is_learned_the_same_again_and_tells_how_far_it_is() -> None:
    done: list[tuple[int, int]] = []
    again = learn_prior(tasks(0, 0.01, 0.0), 0, lambda step, of: done.append((step, of)))
    assert repr(again) == repr(learned(0.01, 0.0))
    assert again.scales.tobytes() == learned(0.01, 0.0).scales.tobytes()
    assert done == [(step + 1, len(done)) for step in range(len(done))]
