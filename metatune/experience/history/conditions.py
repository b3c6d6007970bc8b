"""Which parameters exist only when another one has certain values, as the trials tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from metatune.parameters import Categorical, Float, Parameter, Value
from metatune.space import Config

# A parent with more different values explains anything.
_MOST_VALUES = 20
# Trials that must have the child, and must lack it: fewer prove nothing.
_FEWEST = 2

When = dict[str, dict[str, tuple[Value, ...]]]
Mask = npt.NDArray[np.bool_]


def infer_conditions(
    parameters: Mapping[str, Parameter], configs: Sequence[Config], whole: Sequence[bool]
) -> When:
    """The condition of each parameter that one other explains perfectly.

    A parameter is a child of another where all trials that have it have the other with one of
    certain values, and no trial that lacks it does. `whole` tells which trials lack only what does
    not exist for them: one that failed may have ended before it was asked for the rest. Of
    several parents the one is chosen with choices instead of numbers, then with fewest values, then
    the first.
    """
    has = {name: np.asarray([name in config for config in configs]) for name in parameters}
    ended = np.asarray(whole, dtype=bool)
    parents = {
        name: column
        for name, parameter in parameters.items()
        if not isinstance(parameter, Float) and (column := _Column(name, configs)).is_parent
    }
    when: When = {}
    for child in parameters:
        if np.sum(has[child]) < _FEWEST or np.sum(ended & ~has[child]) < _FEWEST:
            continue
        found = [
            (not isinstance(parameters[name], Categorical), len(column.values), name, values)
            for name, column in parents.items()
            if name != child and (values := column.explains(has[child], ended))
        ]
        if found:
            _, _, parent, values = min(found, key=lambda entry: entry[:2])
            when[child] = {parent: tuple(sorted(values, key=parameters[parent].to_unit))}
    return when


def in_order(names: Sequence[str], when: When) -> list[str]:
    """The names in the same order, but that parents stand before their children."""
    ordered: list[str] = []

    def place(name: str) -> None:
        if name not in ordered:
            for parent in when.get(name, {}):
                place(parent)
            ordered.append(name)

    for name in names:
        place(name)
    return ordered


class _Column:
    """What every trial has for one parameter: the index of its value, -1 for none."""

    def __init__(self, name: str, configs: Sequence[Config]) -> None:
        known: dict[str, int] = {}
        self.values: list[Value] = []
        self._codes = np.full(len(configs), -1)
        for row, config in enumerate(configs):
            if name in config:
                code = known.setdefault(repr(config[name]), len(known))
                if code == len(self.values):
                    self.values.append(config[name])
                self._codes[row] = code

    @property
    def is_parent(self) -> bool:
        return 2 <= len(self.values) <= _MOST_VALUES

    def explains(self, child: Mask, ended: Mask) -> tuple[Value, ...]:
        """The values with which the child exists; empty if they do not tell when it does.

        Some ended trial must have another value and lack the child, so that a parent exists more
        often than its child, and no two can be each other's.
        """
        with_child = set(self._codes[child].tolist())
        without = self._codes[ended & ~child]
        other = set(without.tolist()) - {-1}
        if -1 in with_child or not other or with_child & other:
            return ()
        if np.sum(without >= 0) < _FEWEST:
            return ()
        return tuple(self.values[code] for code in sorted(with_child))
