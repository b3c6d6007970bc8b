from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize
from test_task_prior import some_prior, some_seen

from metatune.optimizers import task_refit
from metatune.optimizers.task_posterior import doubts
from metatune.optimizers.task_prior import Seen, TaskPrior
from metatune.optimizers.task_refit import refitted
from metatune.parameters import Vectors

SEEDS = st.integers(0, 10_000)
Objective = Callable[[Vectors], tuple[float, Vectors]]


def watched(prior: TaskPrior, seen: Seen, labels: Vectors) -> tuple[TaskPrior, Objective]:
    """The prior refitted, and what was minimised for it."""
    objectives: list[Objective] = []

    def spy(objective: Objective, *args: Any, **options: Any) -> Any:
        objectives.append(objective)
        return minimize(objective, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_refit, "minimize", spy)
        return refitted(prior, seen, labels), objectives[0]


def steps(prior: TaskPrior, found: TaskPrior) -> Vectors:
    """How far it moved: four logarithms, and that of the factor of all length-scales."""
    before = [prior.slope, prior.spread, prior.own, prior.noise, prior.scales[0]]
    after = [found.slope, found.spread, found.own, found.noise, found.scales[0]]
    return np.log(after) - np.log(before)


@given(SEEDS, st.integers(2, 12))
@settings(max_examples=12, deadline=None)
def test_the_gradient_is_that_of_the_objective(seed: int, count: int) -> None:
    labels = 2.0 * np.random.default_rng(seed).random(count)
    _, objective = watched(some_prior(seed), some_seen(seed, count), labels)
    at = np.random.default_rng(seed + 1).normal(0.0, 0.7, 5)
    expected = approx_fprime(at, lambda step: objective(step)[0], 1e-6)
    assert objective(at)[1] == pytest.approx(expected, rel=1e-3, abs=1e-3)


@given(SEEDS, st.integers(2, 30))
@settings(max_examples=12, deadline=None)
def test_labels_are_not_less_probable_after(seed: int, count: int) -> None:
    prior, seen = some_prior(seed), some_seen(seed, count)
    labels = 2.0 * np.random.default_rng(seed).random(count)
    found, objective = watched(prior, seen, labels)
    step = steps(prior, found)
    assert found.scales == pytest.approx(prior.scales * np.exp(step[4]))
    assert objective(step)[0] <= objective(np.zeros(5))[0] + 1e-9


@given(SEEDS)
@settings(max_examples=12, deadline=None)
def test_what_is_minimised_is_the_density_of_the_labels(seed: int) -> None:
    """And a normal prior on the steps; offset profiled out."""
    prior, seen, labels = some_prior(seed), some_seen(seed, 7), np.linspace(0.0, 2.0, 7)
    _, objective = watched(prior, seen, labels)
    step = np.random.default_rng(seed).normal(0.0, 0.5, 5)
    four = np.exp(np.log([prior.slope, prior.spread, prior.own, prior.noise]) + step[:4])
    moved = TaskPrior.of(np.append(four, prior.scales * np.exp(step[4])))
    covariance = moved.covariance(seen, seen) + np.diag(moved.noise + doubts(labels))
    rest = labels - seen.mean
    offsets = np.linspace(-5.0, 5.0, 2001)
    away = rest[None] - offsets[:, None]
    misfit = np.einsum("oi,ij,oj->o", away, np.linalg.inv(covariance), away).min()
    expected = 0.5 * misfit + 0.5 * np.linalg.slogdet(covariance)[1]
    expected += 0.5 * ((step / [2.0, 1.0, 1.0, 1.0, 0.5]) ** 2).sum()
    assert objective(step)[0] == pytest.approx(expected, abs=1e-3)


def test_it_moves_towards_what_the_task_is_like() -> None:
    prior, seen = TaskPrior.unlearned(2), some_seen(0, 60)
    rng = np.random.default_rng(0)
    noisy = steps(prior, refitted(prior, seen, seen.mean + rng.standard_normal(60)))
    like = steps(prior, refitted(prior, seen, seen.mean))
    inverse = steps(prior, refitted(prior, seen, 2.0 - seen.mean))
    assert noisy[3] > 0.3 > 0.0 > like[3]
    assert inverse[0] > 0.5 > 0.0 > like[0], "the slope is far from 1 where the task is inverse"
