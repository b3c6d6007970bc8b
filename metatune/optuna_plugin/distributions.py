"""Optuna's distributions as parameters, and values from one to the other.

A choice that no parameter can hold (a function, a tuple, an infinite number) is held by what
`held_value` calls it; where several are called the same, they are held by their positions.
"""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metatune.errors import SpaceError
from metatune.experience.choices import held_value
from metatune.parameters import LARGEST_INTEGER, Categorical, Float, Integer, Parameter, Value, same


def parameter_of(distribution: BaseDistribution) -> Parameter | None:
    """The parameter with the same ends, scale and choices; steps are left to `from_value`.

    A constant is a single choice, and whole numbers too large to be held exactly are real ones.
    None where no parameter can be made, as for a range of infinite width.
    """
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(_held_choices(distribution))
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return None
    low, high, log = distribution.low, distribution.high, distribution.log
    if low == high:
        return Categorical((low,))
    try:
        if isinstance(distribution, IntDistribution) and max(-low, high) <= LARGEST_INTEGER:
            return Integer(int(low), int(high), log)
        return Float(low, high, log)
    except SpaceError:
        return None


def to_value(distribution: BaseDistribution, value: Any) -> Value:
    """What stands for a value of Optuna's in `parameter_of(distribution)`."""
    if isinstance(distribution, CategoricalDistribution):
        return _held_choices(distribution)[int(distribution.to_internal_repr(value))]
    if isinstance(distribution, IntDistribution) and abs(value) <= LARGEST_INTEGER:
        return int(value)
    return float(value)


def from_value(distribution: BaseDistribution, value: Value) -> tuple[Any, bool]:
    """The value of Optuna's nearest to a held one, on the grid of steps where there is one, and
    whether it stands for that: is the same choice, or needs no moving into the range.

    For a choice that the distribution does not have, (None, False).
    """
    if isinstance(distribution, CategoricalDistribution):
        for index, held in enumerate(_held_choices(distribution)):
            if same(held, value):
                return distribution.choices[index], True
        return None, False
    if isinstance(value, str | bool) or value is None or math.isnan(value):
        return None, False
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    number = min(max(value, low), high)
    fits = number == value
    if step is not None:
        steps = min(round((number - low) / step), math.floor((high - low) / step + 1e-8))
        number = min(low + steps * step, high)
    return int(number) if isinstance(distribution, IntDistribution) else float(number), fits


def _held_choices(distribution: CategoricalDistribution) -> tuple[Value, ...]:
    """What stands for each of the choices, all of them different."""
    held = [held_value(choice) for choice in distribution.choices]
    written = [repr(value) for value in held]
    if len(set(written)) == len(held):
        return tuple(held)
    return tuple(
        value if written.count(repr(value)) == 1 else f"choice {position}"
        for position, value in enumerate(held)
    )
