"""Search spaces: what may be chosen, on which scale, and under which condition.

`SearchSpace.build` is the one traversal of a space. Sampling, decoding a vector, checking a
configuration and asking an Optuna trial are each one `choose(name, parameter)` function given to
it. Its only vectorised twin is `SearchSpace.active`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metatune.errors import ConfigurationError, SpaceError
from metatune.parameters import (
    Categorical,
    Float,
    Integer,
    Parameter,
    Value,
    Vectors,
    is_number,
    same,
)

Config = dict[str, Value]
Choose = Callable[[str, Parameter], Value]
_KINDS: Mapping[str, type[Parameter]] = {
    "float": Float,
    "integer": Integer,
    "categorical": Categorical,
}
_KEYS = {
    "float": {"low", "high", "log"},
    "integer": {"low", "high", "log"},
    "categorical": {"choices", "ordered"},
}


@dataclass(frozen=True)
class SearchSpace:
    """Named parameters in order, some of them present only when others have certain values.

    `when[child][parent]` lists the values of `parent` under which `child` exists; several parents
    must all agree, and an absent parent makes the child absent. Parents stand before children.
    """

    parameters: Mapping[str, Parameter]
    when: Mapping[str, Mapping[str, tuple[Value, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters = dict(self.parameters)
        if not parameters:
            raise SpaceError("a search space must have at least one parameter")
        when: dict[str, dict[str, tuple[Value, ...]]] = {}
        names = list(parameters)
        for child, conditions in self.when.items():
            if child not in parameters:
                raise SpaceError(f"[{child}] has a condition but is no parameter of the space")
            for parent, values in conditions.items():
                self._check_condition(names, child, parent, values)
            if conditions:
                when[child] = {parent: tuple(values) for parent, values in conditions.items()}
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "when", when)

    def _check_condition(
        self, names: list[str], child: str, parent: str, values: Sequence[Value]
    ) -> None:
        if parent not in names:
            raise SpaceError(f"[{child}] when: {parent!r} is no parameter; there are {names}")
        if names.index(parent) >= names.index(child):
            raise SpaceError(f"[{child}] when: {parent!r} must stand before {child!r}")
        if isinstance(self.parameters[parent], Float):
            raise SpaceError(f"[{child}] when: {parent!r} is a float, which no list can match")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise SpaceError(f"[{child}] when: {parent} = {values!r} must be a list of values")
        for value in values:
            if not self.parameters[parent].contains(value):
                raise SpaceError(f"[{child}] when: {parent!r} is never {value!r}")

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def names(self) -> list[str]:
        """Parameter names in order: the order of the columns of every vector."""
        return list(self.parameters)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that differ whenever anything about the space differs."""
        return hashlib.sha256(json.dumps(self.to_dict()).encode()).hexdigest()[:12]

    def build(self, choose: Choose) -> Config:
        """The configuration that `choose(name, parameter)` makes, asked for active parameters
        only, in order. Raises ConfigurationError where a chosen value does not fit."""
        config: Config = {}
        for name, parameter in self.parameters.items():
            if self._is_active(name, config):
                value = choose(name, parameter)
                if not parameter.contains(value):
                    raise ConfigurationError(f"{name} = {value!r} is not in {parameter}")
                if isinstance(parameter, Float) and is_number(value):
                    value = float(value)
                config[name] = value
        return config

    def _is_active(self, name: str, config: Config) -> bool:
        return all(
            parent in config and any(same(config[parent], value) for value in values)
            for parent, values in self.when.get(name, {}).items()
        )

    def active(self, vectors: Vectors) -> npt.NDArray[np.bool_]:
        """Which parameters exist in each of the vectors: [n, d] in [0, 1] -> [n, d]."""
        mask = np.ones(vectors.shape, dtype=bool)
        names = self.names
        for child, conditions in self.when.items():
            for parent, values in conditions.items():
                column = names.index(parent)
                parameter = self.parameters[parent]
                if isinstance(parameter, Float):
                    raise SpaceError(f"[{child}] when: {parent!r} is a float")
                cells = parameter.cells(np.where(mask[:, column], vectors[:, column], 0.0))
                wanted = np.asarray([parameter.to_unit(value) for value in values])
                met = np.isin(cells, parameter.cells(wanted)) & mask[:, column]
                mask[:, names.index(child)] &= met
        return mask

    def encode(self, config: Mapping[str, Value]) -> Vectors:
        """Vector [d] in [0, 1] of a configuration, NaN where a parameter is inactive."""
        vector = np.full(len(self.parameters), np.nan)
        for index, (name, parameter) in enumerate(self.parameters.items()):
            if name in config:
                vector[index] = parameter.to_unit(config[name])
        return vector

    def decode(self, vector: Vectors) -> Config:
        """Configuration of a vector [d] in [0, 1]; entries of inactive parameters are ignored."""
        position = {name: float(u) for name, u in zip(self.parameters, vector, strict=True)}
        return self.build(lambda name, parameter: parameter.from_unit(position[name]))

    def sample(self, rng: np.random.Generator, given: Mapping[str, Value] | None = None) -> Config:
        """A configuration drawn uniformly on each parameter's scale, `given` values kept."""
        fixed = given or {}
        drawn = dict(zip(self.parameters, rng.random(len(self.parameters)), strict=True))
        return self.build(
            lambda name, parameter: (
                fixed[name] if name in fixed else parameter.from_unit(drawn[name])
            )
        )

    def check(self, config: Mapping[str, Value], source: str = "configuration") -> Config:
        """The same configuration, known to fit; raises ConfigurationError naming what does not."""

        def choose(name: str, parameter: Parameter) -> Value:
            if name not in config:
                raise ConfigurationError(f"{source}: {name} is missing; it must be in {parameter}")
            if not parameter.contains(config[name]):
                raise ConfigurationError(
                    f"{source}: {name} = {config[name]!r} is not in {parameter}"
                )
            return config[name]

        checked = self.build(choose)
        for name in config:
            if name not in self.parameters:
                raise ConfigurationError(
                    f"{source}: {name} is no parameter; there are {self.names}"
                )
            if name not in checked:
                raise ConfigurationError(
                    f"{source}: {name} = {config[name]!r} is set, but does not exist when "
                    f"{self.when[name]} does not hold"
                )
        return checked

    def restrict(self, name: str, choices: Sequence[Value]) -> SearchSpace:
        """The space with only those of a categorical's choices that stand in `choices`; children
        that can no longer exist are dropped."""
        old = self.parameters[name]
        if not isinstance(old, Categorical):
            raise SpaceError(f"[{name}] {old} is not categorical and cannot be restricted")
        kept = tuple(c for c in old.choices if any(same(c, choice) for choice in choices))
        if not kept:
            raise SpaceError(f"[{name}] choices = {list(old.choices)!r}: none is in {choices!r}")
        parameters: dict[str, Parameter] = dict(self.parameters)
        parameters[name] = Categorical(kept, old.ordered)
        when = {child: dict(conditions) for child, conditions in self.when.items()}
        for child in [n for n in self.names if n in when]:  # parents stand before their children
            conditions = self.when[child]
            if name in conditions:
                values = tuple(v for v in conditions[name] if parameters[name].contains(v))
                when[child][name] = values
            if any(parent not in parameters or not vs for parent, vs in when[child].items()):
                del parameters[child], when[child]
        return SearchSpace(parameters, when)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The space as plain tables, as they stand in a TOML file or in the store."""
        tables: dict[str, dict[str, Any]] = {}
        for name, parameter in self.parameters.items():
            table: dict[str, Any] = {"type": type(parameter).__name__.lower()}
            if isinstance(parameter, Categorical):
                table["choices"] = list(parameter.choices)
                if parameter.ordered:
                    table["ordered"] = True
            else:
                table |= {"low": parameter.low, "high": parameter.high}
                if parameter.log:
                    table["log"] = True
            if name in self.when:
                table["when"] = {k: list(v) for k, v in self.when[name].items()}
            tables[name] = table
        return tables

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], source: str = "search space") -> SearchSpace:
        """The space of plain tables; raises SpaceError naming `source` and the offending key."""
        try:
            parameters = {name: _parameter(name, table) for name, table in tables.items()}
            return cls(parameters, {n: t["when"] for n, t in tables.items() if "when" in t})
        except SpaceError as error:
            raise SpaceError(f"{source}: {error}") from None

    def to_toml(self) -> str:
        """The space as a TOML document that `from_toml` reads back equal."""
        import tomli_w

        for name, parameter in self.parameters.items():
            if isinstance(parameter, Categorical) and None in parameter.choices:
                raise SpaceError(f"[{name}] has None among its choices, which TOML cannot say")
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, text: str, source: str = "search space") -> SearchSpace:
        """The space of a TOML document; `source` names it in errors."""
        try:
            tables = tomllib.loads(text)
        except ValueError as error:  # a TOMLDecodeError, or a number too long for int
            raise SpaceError(f"{source}: not TOML: {error}") from None
        return cls.from_dict(tables, source)

    @classmethod
    def load(cls, name: str | Path) -> SearchSpace:
        """The space in a TOML file, or a shipped one by its bare name, such as `mlp`."""
        path = Path(name)
        if path.suffix != ".toml":
            path = shipped_spaces().get(str(name), path)
        if not path.is_file():
            raise SpaceError(
                f"search space {str(name)!r}: no such file; give a .toml file or one of "
                f"{sorted(shipped_spaces())}"
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpaceError(f"{path}: cannot be read: {error}") from None
        return cls.from_toml(text, str(path))


def config_text(config: Config) -> str:
    """A configuration in one line, numbers to four digits."""
    shown = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in config.items()}
    return "  ".join(f"{name}={value}" for name, value in shown.items())


def shipped_spaces() -> dict[str, Path]:
    """Bare name -> file of every search space that comes with metatune."""
    package = Path(__file__).parent
    for folder in (package / "search_spaces", package.parent / "search_spaces"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.toml"))}
    return {}


def _parameter(name: str, table: Any) -> Parameter:
    if not isinstance(table, Mapping):
        raise SpaceError(f"{name} = {table!r} must be a table [{name}] with a type")
    kind = table.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise SpaceError(f"[{name}] type = {kind!r} must be one of {list(_KINDS)}")
    for key in table:
        if key not in _KEYS[kind] | {"type", "when"}:
            raise SpaceError(f"[{name}] {key!r} is unknown; {kind} has {sorted(_KEYS[kind])}, when")
    for key in ("log", "ordered"):
        if not isinstance(table.get(key, False), bool):
            raise SpaceError(f"[{name}] {key} = {table[key]!r} must be true or false")
    if not isinstance(table.get("when", {}), Mapping):
        raise SpaceError(f"[{name}] when = {table['when']!r} must be a table of lists")
    required = {"choices"} if kind == "categorical" else {"low", "high"}
    for key in sorted(required - set(table)):
        raise SpaceError(f"[{name}] {key} is missing")
    arguments = {key: value for key, value in table.items() if key not in ("type", "when")}
    try:
        return _KINDS[kind](**arguments)
    except SpaceError as error:
        raise SpaceError(f"[{name}] {error}") from None
