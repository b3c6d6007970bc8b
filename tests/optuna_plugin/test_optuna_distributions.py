"""Distributions as parameters, and values there and back."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metatune.optuna_plugin.distributions import from_value, parameter_of, to_value
from metatune.parameters import Categorical, Float, Integer

_PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())


@st.composite
def distributions(draw: st.DrawFn) -> BaseDistribution:
    kind = draw(st.sampled_from(["float", "step", "log", "int", "int step", "int log", "choices"]))
    low = draw(st.integers(1 if "log" in kind else -50, 50))
    step = draw(st.integers(1, 7)) if "step" in kind else 1
    high = low + step * draw(st.integers(0, 60))
    if kind == "choices":
        return CategoricalDistribution(draw(st.lists(_PLAIN, min_size=1, max_size=5)))
    if kind.startswith("int"):
        return IntDistribution(low, high, "log" in kind, step)
    return FloatDistribution(low / 8, high / 8, "log" in kind, step / 8 if "step" in kind else None)


@given(distributions(), st.floats(0.0, 1.0))
def test_every_value_of_a_parameter_becomes_one_that_fits(
    distribution: BaseDistribution, u: float
) -> None:
    parameter = parameter_of(distribution)
    assert parameter is not None
    value, fits = from_value(distribution, parameter.from_unit(u))
    assert fits
    assert distribution._contains(distribution.to_internal_repr(value))


@given(distributions(), st.data())
def test_values_of_optuna_come_back(distribution: BaseDistribution, data: st.DataObject) -> None:
    if isinstance(distribution, CategoricalDistribution):
        value: Any = data.draw(st.sampled_from(distribution.choices))
    else:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        count = int((distribution.high - distribution.low) / (distribution.step or 0.125) + 1e-9)
        value = distribution.low + data.draw(st.integers(0, count)) * (distribution.step or 0.125)
    back, fits = from_value(distribution, to_value(distribution, value))
    assert fits
    # Optuna itself takes 1, 1.0 and True for one choice.
    assert distribution.to_internal_repr(back) == distribution.to_internal_repr(value)


@pytest.mark.parametrize(
    ("distribution", "parameter"),
    [
        (FloatDistribution(1e-3, 1.0, log=True), Float(1e-3, 1.0, log=True)),
        (IntDistribution(2, 10, step=2), Integer(2, 10)),
        (IntDistribution(1, 10**14), Float(1.0, 1e14)),
        (FloatDistribution(0.5, 0.5), Categorical((0.5,))),
        (FloatDistribution(-1.7e308, 1.7e308), None),
        (CategoricalDistribution((1, True, 1.0)), Categorical((1, True, 1.0))),
        (CategoricalDistribution((math.inf, "inf")), Categorical(("choice 0", "choice 1"))),
    ],
)
def test_kinds(distribution: BaseDistribution, parameter: object) -> None:
    assert parameter_of(distribution) == parameter


class _Unnamed:
    """Printed with its address, which is another one in the next process."""


def test_objects_are_held_by_name_or_by_position() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's, of choices that are no plain values
        distribution = CategoricalDistribution((_Unnamed(), math.sin, (1, 2), _Unnamed))  # type: ignore[arg-type]
        twice = CategoricalDistribution((_Unnamed(), _Unnamed(), "a"))  # type: ignore[arg-type]
    held = [to_value(distribution, choice) for choice in distribution.choices]
    assert held == ["choice 0", "sin", "[1, 2]", "choice 3"]
    for choice in distribution.choices:
        assert from_value(distribution, to_value(distribution, choice)) == (choice, True)
    assert [to_value(twice, c) for c in twice.choices] == ["choice 0", "choice 1", "a"]


@pytest.mark.parametrize(
    ("distribution", "value", "found"),
    [
        (FloatDistribution(0.0, 1.0), 2.5, (1.0, False)),
        (FloatDistribution(0.0, 1.0, step=0.25), 0.3, (0.25, True)),
        (IntDistribution(1, 9, step=4), 8, (9, True)),
        (IntDistribution(1, 9), "x", (None, False)),
        (CategoricalDistribution(("a", None)), None, (None, True)),
        (CategoricalDistribution(("a", "b")), "c", (None, False)),
        (CategoricalDistribution((1, 2)), 1.0, (None, False)),
    ],
)
def test_values_that_do_not_fit(
    distribution: BaseDistribution, value: Any, found: tuple[Any, bool]
) -> None:
    assert from_value(distribution, value) == found
