from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from metatune.optimizers.guard import memory_weight, order_likelihood
from metatune.parameters import Vectors

Predicted = tuple[Vectors, Vectors]
SMALL = st.floats(-3.0, 3.0)
counts = st.integers(3, 8)
few = settings(max_examples=40, deadline=None)


def predictions(data: st.DataObject, count: int) -> Predicted:
    mean = data.draw(arrays(float, count, elements=SMALL))
    return mean, data.draw(arrays(float, count, elements=st.floats(0.1, 4.0)))


def values_of(data: st.DataObject, count: int) -> Vectors:
    elements = st.integers(-20, 20).map(float) | st.just(math.inf)
    return data.draw(arrays(float, count, elements=elements))


@given(st.integers(0, 2), st.data())
@few
def test_two_trials_say_nothing(count: int, data: st.DataObject) -> None:
    memory, alone = predictions(data, count), predictions(data, count)
    assert memory_weight(memory, alone, values_of(data, count)) == 1.0


@given(counts, st.data())
@few
def test_both_sides_are_judged_alike(count: int, data: st.DataObject) -> None:
    """Around odds of e^2 for memory."""
    memory, alone, values = *(predictions(data, count) for _ in "12"), values_of(data, count)
    one, other = memory_weight(memory, alone, values), memory_weight(alone, memory, values)
    gain = order_likelihood(*memory, values) - order_likelihood(*alone, values)
    assert [one, other] == pytest.approx([expit(2.0 + gain), expit(2.0 - gain)])
    assert memory_weight(memory, memory, values) == pytest.approx(expit(2.0))


@given(counts, st.data())
@few
def test_only_the_order_of_values_counts(count: int, data: st.DataObject) -> None:
    memory, alone, values = *(predictions(data, count) for _ in "12"), values_of(data, count)
    expected = memory_weight(memory, alone, values)
    for same in (np.exp(0.3 * values), values**3, 1e-9 * values + 5.0, 1e9 * values):
        assert memory_weight(memory, alone, same) == pytest.approx(expected, rel=1e-9)
    order = data.draw(st.permutations(range(count)))
    shuffled = [tuple(part[order] for part in side) for side in (memory, alone)]
    again = memory_weight(
        (shuffled[0][0], shuffled[0][1]), (shuffled[1][0], shuffled[1][1]), values[order]
    )
    assert again == pytest.approx(expected, rel=1e-9)


@given(counts, st.floats(0.01, 100.0), SMALL, st.data())
@few
def test_each_side_has_units_of_its_own(
    count: int, unit: float, shift: float, data: st.DataObject
) -> None:
    (mean, variance), values = predictions(data, count), values_of(data, count)
    expected = order_likelihood(mean, variance, values)
    scaled = order_likelihood(unit * mean + shift, unit**2 * variance, values)
    assert scaled == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_it_is_the_likelihood_of_the_order() -> None:
    mean, variance = np.asarray([0.0, 1.0, 2.0]), np.asarray([0.5, 0.5, 1.5])
    likelihood = order_likelihood(mean, variance, np.asarray([7.0, 8.0, math.inf]))
    drawn = mean + np.sqrt(variance) * np.random.default_rng(0).standard_normal((200_000, 3))
    right = [np.mean(drawn[:, a] < drawn[:, b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert likelihood == pytest.approx(float(np.log(right).sum()), abs=0.01)


def test_values_that_are_equal_say_nothing() -> None:
    mean, variance = np.asarray([0.0, 1.0, 2.0]), np.ones(3)
    assert order_likelihood(mean, variance, np.asarray([3.0, 3.0, 3.0])) == 0.0
    assert order_likelihood(mean, variance, np.full(3, math.inf)) == 0.0


def test_who_predicts_the_order_is_believed() -> None:
    def weight(count: int, memory: float, alone: float) -> float:
        values, variance = np.arange(float(count)), np.ones(count)
        return memory_weight((memory * values, variance), (alone * values, variance), values)

    right, wrong = [[weight(n, s, -s) for n in (3, 6, 12)] for s in (0.5, -0.5)]
    assert 0.88 < right[0] < right[1] < right[2]
    assert 0.5 > wrong[0] > wrong[1] > wrong[2]
    assert weight(12, 0.5, 0.0) > weight(12, 0.25, 0.0) > 0.88
    assert wrong[2] < 1e-3
