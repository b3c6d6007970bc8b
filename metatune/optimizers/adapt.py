"""Carrying values over to parameters that they were not chosen for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from metatune.parameters import Categorical, Integer, Parameter, Value, Vectors
from metatune.space import Config, SearchSpace


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


def carried_over(
    space: SearchSpace, configs: Sequence[Config], given: Mapping[str, Value]
) -> list[tuple[Config, float]]:
    """Different configurations of `space`, each with the share of its parameters that had to be
    changed: set to the given value, moved into the range, or filled in.

    A parameter that a configuration lacks, or whose choice is unknown, is filled in from the most
    similar configuration that has it, or else with the centre of its range.
    """
    vectors = np.asarray([carry(space, config) for config in configs])
    found: dict[str, tuple[Config, float]] = {}
    for row, config in enumerate(configs):
        made = _fitted(space, config, given, partial(_borrowed, space, vectors, row))
        changes = sum(name not in config or config[name] != value for name, value in made.items())
        share = changes / len(made)
        if repr(made) not in found or share < found[repr(made)][1]:
            found[repr(made)] = made, share
    return list(found.values())


def _fitted(
    space: SearchSpace,
    config: Config,
    given: Mapping[str, Value],
    borrowed: Callable[[str], float],
) -> Config:
    """`config` in `space`: given values first, then its own, then borrowed positions."""

    def choose(name: str, parameter: Parameter) -> Value:
        if name in given:
            return given[name]
        if name in config and understands(parameter, config[name]):
            return nearest(parameter, config[name])
        return parameter.from_unit(borrowed(name))

    return space.build(choose)


def _borrowed(space: SearchSpace, vectors: Vectors, row: int, name: str) -> float:
    """Position of parameter `name` in the vector most similar to that of `row` among those [n, d]
    that have it, by the mean difference over common parameters, where choices differ or not; the
    centre where none has it."""
    difference = np.abs(vectors - vectors[row])
    choices = [isinstance(p, Categorical) and not p.ordered for p in space.parameters.values()]
    difference[:, choices] = np.ceil(difference[:, choices])
    common = ~np.isnan(difference)
    total = np.where(common, difference, 0.0).sum(axis=1)
    distance = np.where(common.any(axis=1), total / np.maximum(common.sum(axis=1), 1), 1.0)
    positions = vectors[:, space.names.index(name)]
    distance[np.isnan(positions)] = np.inf
    most_similar = int(np.argmin(distance))
    return float(positions[most_similar]) if np.isfinite(distance[most_similar]) else 0.5
