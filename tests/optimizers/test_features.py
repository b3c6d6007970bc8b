from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import spaces

from metatune.optimizers.features import Features
from metatune.parameters import Categorical, Float, Integer, Parameter, Value
from metatune.space import SearchSpace

KINDS = SearchSpace(
    {
        "kind": Categorical(("a", "b", "c")),
        "size": Categorical((16, 32, 64), ordered=True),
        "x": Float(0.0, 1.0),
    }
)


def place(parameter: Parameter, value: Value) -> float:
    vectors = Features(SearchSpace({"p": parameter})).of([{"p": value}])
    return float(vectors[0, 0])


@given(spaces(), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_places_are_those_of_the_encoding(space: SearchSpace, seed: int) -> None:
    """Unordered choices apart; and of what does not exist, the middle."""
    features = Features(space)
    config = space.sample(np.random.default_rng(seed))
    vectors = features.of([config, {}])
    assert vectors.shape == (2, features.count)
    encoded = np.where(np.isnan(space.encode(config)), 0.5, space.encode(config))
    for name, expected in zip(space.names, encoded, strict=True):
        columns, parameter = features.columns([name]), space.parameters[name]
        if isinstance(parameter, Categorical) and not parameter.ordered:
            assert len(columns) == len(parameter.choices)
            assert np.count_nonzero(vectors[0, columns]) == (name in config)
            assert not vectors[1, columns].any()
        else:
            assert vectors[0, columns].tolist() == [expected]
            assert vectors[1, columns].tolist() == [0.5]
    assert sorted(features.columns(space.names)) == list(range(features.count))


def test_unordered_choices_lie_at_distance_1_and_no_choice_between() -> None:
    vectors = Features(KINDS).of(
        [{"kind": kind, "size": 32, "x": 0.5} for kind in ("a", "b", "c", "unknown", "unknown")]
    )
    distances = np.sqrt(((vectors[:, None] - vectors[None]) ** 2).sum(-1))
    assert distances[:3, :3] == pytest.approx(1.0 - np.eye(3))
    assert distances[3, :3] == pytest.approx(math.sqrt(0.5))
    assert distances[3, 4] == 0.0


def test_ordered_choices_lie_in_order_on_one_column() -> None:
    features = Features(KINDS)
    column = features.columns(["size"])
    assert features.columns(["x", "kind"]) == [4, 0, 1, 2]
    vectors = features.of([{"size": size} for size in (16, 32, 64, 128)])[:, column]
    assert vectors[:, 0] == pytest.approx([1 / 6, 0.5, 5 / 6, 0.5])


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (Float(0.0, 2.0), 3.0, 1.5),
        (Float(0.0, 2.0), -1.0, -0.5),
        (Float(0.0, 2.0), 1e9, 2.0),
        (Float(0.0, 2.0), -math.inf, -1.0),
        (Float(1e-4, 1.0, log=True), 10.0, 1.25),
        (Float(1e-4, 1.0, log=True), 1e-6, -0.5),
        (Float(1e-4, 1.0, log=True), 0.0, -1.0),
        (Float(1e-4, 1.0, log=True), -3.0, -1.0),
        (Integer(0, 9), 18, 0.95 + 1.0),
        (Float(0.0, 2.0), math.nan, 0.5),
        (Float(0.0, 2.0), "much", 0.5),
        (Float(0.0, 2.0), True, 0.5),
        (Integer(0, 9), None, 0.5),
    ],
)
def test_values_of_other_spaces(parameter: Parameter, value: Value, expected: float) -> None:
    """They go on outside [0, 1], a range at most; what is no number stands in the middle."""
    assert place(parameter, value) == pytest.approx(expected)


@given(
    st.sampled_from(
        [Float(-1.0, 3.0), Float(0.01, 5.0, log=True), Integer(-3, 7), Integer(1, 500, log=True)]
    ),
    st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20).map(sorted),
)
@settings(max_examples=50, deadline=None)
def test_more_is_never_less(parameter: Parameter, values: list[float]) -> None:
    places = [place(parameter, value) for value in values]
    assert places == sorted(places)
    assert places[0] >= -1.0
    assert places[-1] <= 2.0
