"""Configurations as vectors that models of performance can learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from metatune.optimizers.adapt import nearest, understands
from metatune.parameters import Categorical, Float, Integer, Parameter, Value, Vectors, is_number
from metatune.space import SearchSpace

# Where a parameter stands that does not exist in a configuration.
_ABSENT = 0.5
# How far from the range, in ranges, a value of another space is told from one still further.
_BEYOND = 1.0


class Features:
    """Vectors [n, columns] of configurations of `space`, or of any space that shares parameters.

    A number or ordered choice is one column: its place in [0, 1], going on outside for values
    beyond the range. An unordered choice has a column each, and two different choices lie at
    distance 1. Parameters that are inactive, missing or not understood
    stand at `absent`, by default in the middle, and as unordered choices at none of them.
    """

    def __init__(self, space: SearchSpace, absent: float = _ABSENT) -> None:
        self._space, self._absent = space, absent
        self._columns: dict[str, list[int]] = {}
        count = 0
        for name, parameter in space.parameters.items():
            width = _choices(parameter) or 1
            self._columns[name] = list(range(count, count + width))
            count += width
        self.count = count

    def columns(self, names: Sequence[str]) -> list[int]:
        """Indices of the columns of parameters `names`."""
        return [column for name in names for column in self._columns[name]]

    def of(self, configs: Sequence[Mapping[str, Value]]) -> Vectors:
        """The vectors [n, columns] of n configurations."""
        table = np.full((len(configs), self.count), self._absent)
        for name, parameter in self._space.parameters.items():
            columns = self._columns[name]
            if _choices(parameter):
                table[:, columns] = 0.0
            for row, config in enumerate(configs):
                if name in config and understands(parameter, config[name]):
                    _place(table[row], columns, parameter, config[name])
        return table


def _choices(parameter: Parameter) -> int:
    """How many choices without an order there are, 0 where there is one."""
    if isinstance(parameter, Categorical) and not parameter.ordered:
        return len(parameter.choices)
    return 0


def _place(row: Vectors, columns: list[int], parameter: Parameter, value: Value) -> None:
    if isinstance(parameter, Categorical):
        position = parameter.to_unit(value)
        if parameter.ordered:
            row[columns[0]] = position
        else:
            row[columns[int(position * len(columns))]] = math.sqrt(0.5)
    elif is_number(value):
        inside = nearest(parameter, value)
        beyond = 0.0 if inside == value else _beyond(parameter, value)
        row[columns[0]] = parameter.to_unit(inside) + beyond


def _beyond(parameter: Float | Integer, value: float) -> float:
    """How far outside the range `value` lies, in ranges."""
    low, high = parameter.low, parameter.high
    end = min(max(value, low), high)
    if value == end:
        return 0.0
    if not parameter.log:
        beyond = (value - end) / (high - low)
    elif value <= 0.0:
        beyond = -_BEYOND
    else:
        beyond = math.log(value / end) / math.log(high / low)
    return min(max(beyond, -_BEYOND), _BEYOND)
