"""Ray Tune's domains as a search space, and configurations of it in the user's own form."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.impl.placeholder import _FunctionResolver, _RefResolver
from ray.tune.search.sample import (
    Categorical,
    Domain,
    Float,
    Integer,
    LogUniform,
    Quantized,
    Uniform,
)

from metatune import parameters
from metatune.errors import ConfigurationError, SpaceError
from metatune.experience.choices import held_value
from metatune.parameters import Parameter, Value
from metatune.space import Config, SearchSpace

Keys = tuple[Any, ...]
SpaceLike = SearchSpace | Mapping[str, Any] | str | Path


@dataclass(frozen=True)
class ParamSpace:
    """A search space and where its parameters stand in Ray's nested configurations.

    `keys[name]` leads to a parameter; its name is those keys joined by "/". `grids[name]` is the
    distance between the values of a quantized one. A choice that is no single value (a list, a
    tuple, a dictionary) goes by what `held_value` calls it; `literals[name]` has the Python literal
    of each such choice by that name.
    """

    space: SearchSpace
    keys: Mapping[str, Keys]
    grids: Mapping[str, float] = field(default_factory=dict)
    literals: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, space: SpaceLike, *, grid_search: bool = False) -> ParamSpace:
        """The parameters of a SearchSpace, of its TOML file, or of a Tuner's `param_space`.

        Constants of a `param_space` are left out. Raises SpaceError naming the key of a domain that
        has no range; of `tune.grid_search` too, unless it is allowed.
        """
        if isinstance(space, str | Path):
            space = SearchSpace.load(space)
        if isinstance(space, SearchSpace):
            return cls(space, {name: tuple(name.split("/")) for name in space.names})
        found: dict[str, Parameter] = {}
        keys: dict[str, Keys] = {}
        grids: dict[str, float] = {}
        literals: dict[str, dict[str, str]] = {}
        for path, domain in _domains(space, ()):
            name = _name(path)
            if name in keys:
                raise SpaceError(
                    f"param_space: {path} and {keys[name]} are both {name!r}; rename one"
                )
            keys[name] = path
            try:
                if isinstance(domain, Categorical):
                    _check_grid_search(domain, grid_search)
                    found[name], literals[name] = _choices(domain)
                else:
                    found[name], grids[name] = _range(domain)
            except SpaceError as error:
                raise SpaceError(f"param_space: {name!r}: {error}") from None
        if not found:
            raise SpaceError(
                f"param_space has nothing to search, only constants {list(space)}; give a domain "
                f"such as tune.uniform(0, 1)"
            )
        return cls(
            SearchSpace(found),
            keys,
            {name: grid for name, grid in grids.items() if grid},
            {name: texts for name, texts in literals.items() if texts},
        )

    def on_grid(self, config: Config) -> Config:
        """The configuration with its quantized values at the nearest of their grid."""
        return {name: self._snapped(name, value) for name, value in config.items()}

    def nested(self, config: Config) -> dict[str, Any]:
        """A configuration as Ray hands it to a trainable, without constants."""
        tree: dict[str, Any] = {}
        for name, value in config.items():
            *above, last = self.keys[name]
            node = tree
            for key in above:
                node = node.setdefault(key, {})
            literal = self.literals.get(name, {}).get(value) if isinstance(value, str) else None
            node[last] = value if literal is None else ast.literal_eval(literal)
        return tree

    def flat(self, config: Mapping[str, Any]) -> Config:
        """The configuration that stands in one of Ray's, its constants left out.

        Raises ConfigurationError where a value does not fit.
        """
        values = {name: _value_at(config, keys) for name, keys in self.keys.items()}
        present = {name: found[0] for name, found in values.items() if found}
        plain = {name: self._plain(name, value) for name, value in present.items()}
        return self.space.check(plain, "config of a trial")

    def to_dict(self) -> dict[str, Any]:
        """What beside the search space is needed to make the same again: plain JSON."""
        keys = {name: list(path) for name, path in self.keys.items()}
        literals = {name: dict(texts) for name, texts in self.literals.items()}
        return {"keys": keys, "grids": dict(self.grids), "literals": literals}

    @classmethod
    def from_dict(cls, space: SearchSpace, record: Mapping[str, Any]) -> ParamSpace:
        """The inverse of `to_dict`."""
        keys = {name: tuple(path) for name, path in record["keys"].items()}
        return cls(space, keys, record["grids"], record["literals"])

    def _snapped(self, name: str, value: Value) -> Value:
        if name not in self.grids or not parameters.is_number(value):
            return value
        grid = self.grids[name]
        return type(value)(round(value / grid) * grid)  # as Ray computes it, rounding error too

    def _plain(self, name: str, value: Any) -> Value:
        """A value of Ray's or of a searcher's as this space knows it."""
        held = held_value(value)
        for text, literal in self.literals.get(name, {}).items():
            if held == text or ast.literal_eval(literal) == value:
                return text
        if hasattr(value, "item"):  # a NumPy scalar
            value = value.item()
        is_whole = isinstance(value, float) and value.is_integer()
        if is_whole and isinstance(self.space.parameters[name], parameters.Integer):
            return int(value)
        if not isinstance(value, Value):
            raise ConfigurationError(f"config of a trial: {name} = {value!r} is no plain value")
        return value


def domain_names(config: Mapping[str, Any]) -> list[str]:
    """The parameters of a `param_space`, by name; raises SpaceError for one of a function."""
    return [_name(path) for path, _ in _domains(config, ())]


def _name(path: Keys) -> str:
    return "/".join(str(key) for key in path)


def _value_at(config: Any, keys: Keys) -> tuple[Any] | None:
    """The value that `keys` lead to, in a tuple; None where there is none."""
    for key in keys:
        if not isinstance(config, Mapping) or key not in config:
            return None
        config = config[key]
    return (config,)


def _domains(config: Mapping[Any, Any], above: Keys) -> Iterator[tuple[Keys, Domain]]:
    """Every domain of a `param_space` and the keys that lead to it, in order."""
    for key, value in config.items():
        path = (*above, key)
        if isinstance(value, Mapping) and len(value) == 1 and "grid_search" in value:
            yield path, Categorical(value["grid_search"]).grid()
        elif _is_function(value):
            raise SpaceError(
                f"param_space: {_name(path)!r} is sampled by a function, which metatune cannot "
                f"propose for; compute it in the trainable, or give a domain such as tune.uniform"
            )
        elif isinstance(value, Domain):
            yield path, value
        elif isinstance(value, Mapping):
            yield from _domains(value, path)
        elif isinstance(value, list | tuple):
            _check_no_domain(value, path)


def _check_no_domain(values: Sequence[Any], above: Keys) -> None:
    for path, _ in _domains(dict(enumerate(values)), above):
        raise SpaceError(
            f"param_space: {_name(path)!r} stands in a list; give each domain a key of its own"
        )


def _is_function(value: Any) -> bool:
    """Whether a value is `tune.sample_from`, or what Ray puts in its place, or `{"eval": ...}`."""
    if isinstance(value, Domain):
        return bool(value.is_function())
    if isinstance(value, tuple):
        return len(value) == 2 and value[0] == _FunctionResolver.TOKEN
    return isinstance(value, Mapping) and len(value) == 1 and "eval" in value


def _check_grid_search(domain: Categorical, allowed: bool) -> None:
    if domain.is_grid() and not allowed:
        raise SpaceError(
            f"tune.grid_search({domain.categories!r}) tries every value in turn, which leaves "
            f"nothing to propose; use tune.choice"
        )


def _choices(domain: Categorical) -> tuple[Parameter, dict[str, str]]:
    """The choices as a parameter, and the literals of those that are no single value."""
    choices: dict[str, Value] = {}
    literals: dict[str, str] = {}
    for category in domain.categories:
        if isinstance(category, Value):
            # NumPy's floats pass as Python's, and are recorded as such.
            plain = float(category) if isinstance(category, float) else category
            choices.setdefault(repr(plain), plain)
            continue
        literal, text = _literal(category), str(held_value(category))
        if literals.setdefault(text, literal) != literal:
            raise SpaceError(
                f"tune.choice({domain.categories!r}): {literals[text]} and {literal} are "
                f"remembered as the same {text}; drop one"
            )
        choices.setdefault(text, text)
    if any(repr(text) in choices for text in literals):
        raise SpaceError(f"tune.choice({domain.categories!r}) has a list and its text; drop one")
    return parameters.Categorical(tuple(choices.values())), literals


def _literal(category: Any) -> str:
    text = repr(category)
    try:
        if not _holds_object(category) and repr(ast.literal_eval(text)) == text:
            return text
    except (ValueError, SyntaxError):
        pass
    raise SpaceError(
        f"tune.choice among objects cannot be remembered; choose among names or plain Python "
        f"values, and look the object up in the trainable (choice {text})"
    )


def _holds_object(category: Any) -> bool:
    """Whether there is something in a choice that Ray has put a placeholder for, or a domain."""
    if isinstance(category, tuple) and len(category) == 2:
        tokens = (_RefResolver.TOKEN, _FunctionResolver.TOKEN)
        if category[0] in tokens:
            return True
    parts = category.values() if isinstance(category, Mapping) else category
    return isinstance(category, list | tuple | Mapping) and any(map(_holds_object, parts))


def _range(domain: Domain) -> tuple[Parameter, float]:
    """A numeric domain as a parameter, and the distance of its grid, 0 without one."""
    sampler, grid = domain.get_sampler(), 0.0
    if isinstance(sampler, Quantized):
        sampler, grid = sampler.sampler, sampler.q
    if not isinstance(sampler, Uniform | LogUniform) or not isinstance(domain, Float | Integer):
        raise SpaceError(
            "this domain has no bounds to search between; use tune.uniform(low, high) or another "
            "that has"
        )
    low, high = domain.lower, domain.upper
    if not -math.inf < low <= high < math.inf:
        raise SpaceError(f"from {low!r} to {high!r} is no range with two finite ends")
    kind: type[int | float] = int if isinstance(domain, Integer) else float
    if grid:
        low, high = math.ceil(_steps(low, grid)) * grid, math.floor(_steps(high, grid)) * grid
    if kind is int and grid in (0, 1):
        high -= 1  # Ray leaves the upper end of whole numbers out
    if low > high:
        raise SpaceError(f"from {domain.lower!r} to {domain.upper!r} holds no value")
    if low == high:
        return parameters.Categorical((kind(low),)), grid
    log = isinstance(sampler, LogUniform)
    if kind is int:
        return parameters.Integer(int(low), int(high), log), grid
    return parameters.Float(float(low), float(high), log), grid


def _steps(bound: float, grid: float) -> float:
    """How many steps of a grid it is from 0 to a bound, rounding error taken out."""
    steps = bound / grid
    return round(steps) if math.isclose(steps, round(steps)) else steps
