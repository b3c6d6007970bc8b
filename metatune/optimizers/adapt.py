"""Carrying values over to parameters that they were not chosen for."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from metatune.parameters import Categorical, Integer, Parameter, Value, Vectors
from metatune.space import SearchSpace


def understands(parameter: Parameter, value: Value) -> bool:
    """Whether `value` means something to `parameter`: one of its choices, or any number where
    it is numeric."""
    if isinstance(parameter, Categorical):
        return parameter.contains(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not math.isnan(value)


def nearest(parameter: Parameter, value: Value) -> Value:
    """The value of `parameter` nearest to a `value` that it understands."""
    if isinstance(parameter, Categorical) or not isinstance(value, int | float):
        return value
    inside = min(max(value, parameter.low), parameter.high)
    return round(inside) if isinstance(parameter, Integer) else float(inside)


def carry(space: SearchSpace, config: Mapping[str, Value]) -> Vectors:
    """Vector [d] in [0, 1] of a configuration of any space: the nearest values that `space` has,
    NaN for parameters that `config` does not have or that do not understand its value."""
    vector = np.full(len(space), np.nan)
    for index, (name, parameter) in enumerate(space.parameters.items()):
        if name in config and understands(parameter, config[name]):
            vector[index] = parameter.to_unit(nearest(parameter, config[name]))
    return vector


def shared(ours: SearchSpace, theirs: SearchSpace) -> list[str]:
    """Names of the parameters that mean the same in both spaces: numbers, or choices of which
    some are common."""
    names = [name for name in ours.parameters if name in theirs.parameters]
    return [n for n in names if _alike(ours.parameters[n], theirs.parameters[n])]


def _alike(a: Parameter, b: Parameter) -> bool:
    if isinstance(a, Categorical) and isinstance(b, Categorical):
        return any(a.contains(choice) for choice in b.choices)
    return not isinstance(a, Categorical) and not isinstance(b, Categorical)
