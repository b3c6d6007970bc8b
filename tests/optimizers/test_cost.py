from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.optimizers.cost import relative_costs
from metatune.parameters import Vectors


def points_of(seed: int, count: int) -> Vectors:
    return np.random.default_rng(seed).random((count, 2))


def seconds(points: Vectors) -> Vectors:
    """From 1 to 9, by the first parameter."""
    costs: Vectors = 9.0 ** points[:, 0]
    return costs


def test_costs_are_learned_relative_to_the_median() -> None:
    tried, asked = points_of(0, 25), points_of(1, 40)
    expected = seconds(asked) / np.median(seconds(tried))
    assert relative_costs(tried, seconds(tried), asked) == pytest.approx(expected, rel=0.15)


def test_unknown_costs_are_left_out() -> None:
    tried, asked = points_of(0, 12), points_of(1, 5)
    costs = seconds(tried)
    costs[::3] = math.nan
    known = ~np.isnan(costs)
    expected = relative_costs(tried[known], costs[known], asked)
    assert (relative_costs(tried, costs, asked) == expected).all()


@pytest.mark.parametrize(
    "costs",
    [[], [1.0, 2.0, 3.0, 9.0], [1.0, 2.0, 3.0, 9.0, math.nan], [math.nan] * 8, [7.0] * 8],
)
def test_costs_that_say_nothing_count_alike(costs: list[float]) -> None:
    found = relative_costs(points_of(0, len(costs)), np.asarray(costs), points_of(1, 6))
    assert found.tolist() == [1.0] * 6


@given(st.floats(1e-6, 1e6), st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_units_do_not_matter(unit: float, seed: int) -> None:
    tried, asked = points_of(seed, 9), points_of(seed + 1, 9)
    costs = seconds(tried)
    expected = relative_costs(tried, costs, asked)
    assert relative_costs(tried, unit * costs, asked) == pytest.approx(expected, rel=1e-3)


def test_no_cost_counts_for_more_than_a_factor_of_four() -> None:
    tried = points_of(0, 300)
    found = relative_costs(tried, seconds(tried) ** 6, points_of(1, 200))
    assert found.min() == pytest.approx(0.25)
    assert found.max() == pytest.approx(4.0)
