from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.optimizers.task_alone import fit_alone
from metatune.parameters import Vectors


def bowl_values(points: Vectors) -> Vectors:
    values: Vectors = ((points - 0.4) ** 2).sum(1)
    return values


def points_of(seed: int, count: int) -> Vectors:
    return np.random.default_rng(seed).random((count, 2))


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=10, deadline=None)
def test_units_do_not_matter(seed: int, unit: float, shift: float) -> None:
    points, asked = points_of(seed, 8), points_of(seed + 1, 5)
    values = bowl_values(points)
    one = fit_alone(points, values).predict(asked)
    other = fit_alone(points, unit * values + shift).predict(asked)
    assert np.stack(other) == pytest.approx(np.stack(one), rel=1e-3, abs=1e-3)


def test_where_it_is_low_is_found_among_failures() -> None:
    points, asked = points_of(0, 40), points_of(1, 300)
    values = np.where(points[:, 0] > 0.8, math.inf, bowl_values(points))
    expected = fit_alone(points, values).predict_mean(asked)
    assert asked[np.argmin(expected)] == pytest.approx([0.4, 0.4], abs=0.12)
    assert expected[asked[:, 0] > 0.85].min() > np.median(expected)


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0, 2.0], [2.0, math.inf], [1.0, 2.0, 2e300]])
def test_any_values_will_do(values: list[float]) -> None:
    process = fit_alone(points_of(0, len(values)), np.asarray(values))
    expected, deviation = process.predict(points_of(1, 20))
    assert np.isfinite(expected).all()
    assert (deviation > 0.0).all()


def test_many_trials_are_all_known() -> None:
    points = points_of(0, 300)
    process = fit_alone(points, bowl_values(points))
    assert process.predict_mean(points) == pytest.approx(process.values, abs=0.1)
