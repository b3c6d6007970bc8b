from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.optimizers.adapt import carry, nearest, shared, understands
from metatune.parameters import Categorical, Float, Integer, Parameter, Value
from metatune.space import SearchSpace


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (Float(0.0, 1.0), 3, 1.0),
        (Float(0.0, 1.0), -2.5, 0.0),
        (Float(0.0, 1.0), 0.25, 0.25),
        (Integer(1, 8), 6.7, 7),
        (Integer(1, 8), 100.0, 8),
        (Categorical(("a", None)), None, None),
    ],
)
def test_the_nearest_value(parameter: Parameter, value: Value, expected: Value) -> None:
    assert understands(parameter, value)
    found = nearest(parameter, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (Float(0.0, 1.0), "much"),
        (Float(0.0, 1.0), True),
        (Float(0.0, 1.0), None),
        (Float(0.0, 1.0), math.nan),
        (Integer(1, 8), False),
        (Categorical(("a", "b")), "c"),
        (Categorical((1, 2)), True),
    ],
)
def test_what_means_nothing_to_a_parameter(parameter: Parameter, value: Value) -> None:
    assert not understands(parameter, value)


@given(st.floats(allow_nan=False), st.integers(-5, 5), st.integers(1, 5))
def test_the_nearest_number_is_in_range(value: float, low: int, width: int) -> None:
    for parameter in (Integer(low, low + width), Float(low, low + width)):
        assert parameter.contains(nearest(parameter, value))


def test_a_configuration_is_carried_over() -> None:
    space = SearchSpace(
        {"rate": Float(0.0, 1.0), "depth": Integer(0, 4), "kind": Categorical(("a", "b"))}
    )
    vector = carry(space, {"rate": 7.0, "kind": "z", "colour": "red"})
    assert vector[0] == 1.0
    assert np.isnan(vector[1:]).all()


def test_shared_parameters_mean_the_same() -> None:
    ours = SearchSpace(
        {
            "rate": Float(0.0, 1.0),
            "depth": Integer(0, 4),
            "kind": Categorical(("a", "b")),
            "act": Categorical(("relu", "tanh")),
            "size": Categorical((1, 2), ordered=True),
            "new": Float(0.0, 1.0),
        }
    )
    theirs = SearchSpace(
        {
            "size": Integer(1, 2),
            "act": Categorical(("gelu",)),
            "kind": Categorical(("b", "c")),
            "depth": Float(0.5, 9.0),
            "rate": Float(5.0, 6.0),
        }
    )
    assert shared(ours, theirs) == ["rate", "depth", "kind"]
