"""Configurations as documents: written by `metatune export`, trained by `metatune train`."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import tomli_w
import yaml

from metatune.errors import ConfigurationError, InputError
from metatune.orchestration.known_refinement import PROPOSED, REFINING_SECONDS
from metatune.orchestration.known_weights import INITIALIZATIONS, KEPT, PARENT
from metatune.parameters import is_number
from metatune.study import Study
from metatune.task import Direction, Measure
from metatune.trial import Trial

_WRITERS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "toml": tomli_w.dumps,
    "json": lambda document: json.dumps(document, indent=2) + "\n",
    "yaml": lambda document: yaml.safe_dump(document, sort_keys=False),
}
_READERS: Mapping[str, Callable[[str], Any]] = {
    "toml": tomllib.loads,
    "json": json.loads,
    "yaml": yaml.safe_load,
    "yml": yaml.safe_load,
}
FORMATS = tuple(_WRITERS)
_ENDINGS = {".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".py": "python"}
_Rule = tuple[Callable[[Any], bool], str]  # what a value must fulfil, and that in words


def _whole(least: int, most: int = 2**32 - 1) -> _Rule:
    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return fits, f"a whole number from {least} to {most}"


def _one_of(*choices: str) -> _Rule:
    return lambda value: value in choices, f"one of {list(choices)}"


_TEXT: _Rule = (lambda value: isinstance(value, str), "a string")
_NUMBER: _Rule = (
    lambda value: is_number(value) and abs(value) <= sys.float_info.max,
    "a finite number",
)
_TABLES: _Rule = (
    lambda value: (
        isinstance(value, dict)
        and all(
            isinstance(table, dict) and all(map(is_number, table.values()))
            for table in value.values()
        )
    ),
    "tables of numbers by the names of what was learned",
)
_TEXTS: _Rule = (
    lambda value: isinstance(value, dict) and all(isinstance(t, str) for t in value.values()),
    "a table of names",
)
_PARENT: _Rule = (
    lambda value: (
        isinstance(value, dict)
        and value.keys() == {"trial", "weights"}
        and isinstance(value["weights"], str)
    ),
    "a table of trial and weights",
)
_DOCUMENT: Mapping[str, Mapping[str, _Rule]] = {
    "study": {"name": _TEXT, "trial": _whole(0), "metatune": _TEXT},
    "task": {
        "name": _TEXT,
        "metric": _TEXT,
        "direction": _one_of(*get_args(Direction)),
        "measure": _one_of(*get_args(Measure)),
        "data_hash": _TEXT,
    },
    "result": {
        "value": _NUMBER,
        "member": _NUMBER,
        "steps": _whole(1),
        "seconds": _NUMBER,
        "mean": _NUMBER,
        "deviation": _NUMBER,
        "seeds": _whole(2),
        "candidates": _whole(1),
        "sure": (lambda value: is_number(value) and 0.0 <= value <= 1.0, "a number from 0 to 1"),
    },
    "configuration": {},
    "training": {},
}
_LINEAGE: _Rule = (
    lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
    "a list of tables",
)
_OPTIONAL = (
    "initializations",
    "parent",
    "store",
    "lineage",
    "losses",
    "schedules",
    "target",
    "member",
    "mean",
    "deviation",
    "seeds",
    "candidates",
    "sure",
)
# What a trial of a built-in network has in [training].
_TRAINING: Mapping[str, _Rule] = {
    "seed": _whole(0),
    "data": _TEXT,
    "target": _TEXT,
    "epochs": _whole(1),
    "threads": _whole(1, 1024),
    "split_seed": _whole(0),
    "dtype": _one_of("float32"),
    "engine": _one_of("plain", "fused"),
    "lineage": _LINEAGE,
    "losses": _TABLES,
    "schedules": _TABLES,
    "initializations": _TEXTS,
    "parent": _PARENT,
    "store": _TEXT,
}
# What says how a trial came to its end, alone or in a population; training it again does without.
_NOT_REPEATED = (
    *("population", "device", "at_once", "compiled", "alone", "failures", KEPT),
    *(PROPOSED, REFINING_SECONDS),
)


def document(
    study: Study, trial: Trial, of_seeds: Mapping[str, Any] | None = None, store: str = ""
) -> dict[str, Any]:
    """A trial with everything that training it again takes, as plain tables.

    The result of a member of a population that was trained once more alone is the value of that,
    with the member's beside it. `of_seeds` is what `seeds.Choice.result` says. `store` is where the
    weights are that training began from, if it did from any that are kept.
    """
    task = study.task
    training = {k: v for k, v in trial.training.items() if k not in _NOT_REPEATED}
    if trial.config.get("initializer") != "learned":
        training.pop(INITIALIZATIONS, None)
    if training.keys() & {INITIALIZATIONS, PARENT}:
        training["store"] = store
    result = {"value": trial.value, "steps": trial.step, "seconds": trial.cost}
    if (alone := trial.training.get("alone")) is not None:
        training["engine"] = "plain"
        result |= {"value": alone, "member": trial.value}
    return {
        "study": {
            "name": study.name,
            "trial": trial.number,
            "metatune": study.versions.get("metatune", ""),
        },
        "task": {
            "name": task.name,
            "metric": task.metric,
            "direction": task.direction,
            "measure": task.measure,
            "data_hash": task.data_hash,
        },
        "result": result | dict(of_seeds or {}),
        "configuration": dict(trial.config),
        "training": {
            "seed": trial.seed,
            **({} if "data" in training else {"trainable": ""}),
            **{key: value for key, value in training.items() if value is not None},
        },
    }


def said_of_seeds(result: Mapping[str, Any]) -> str:
    """What training again from other seeds showed, in words; "" where that was not asked for."""
    if "seeds" not in result:
        return ""
    said = "over {seeds} seeds mean {mean:.6g}, deviation {deviation:.2g}"
    if "sure" in result:
        said += "; the best of {candidates} candidates with probability {sure:.2g}"
    return said.format_map(result)


def to_text(exported: dict[str, Any], form: str) -> str:
    """An exported document in one of FORMATS; raises InputError for what TOML cannot say."""
    lineage = exported["training"].get("lineage", [])
    configurations = [exported["configuration"], *(one["config"] for one in lineage)]
    if form == "toml" and any(None in config.values() for config in configurations):
        raise InputError("format 'toml' cannot say None, which the configuration has; use json")
    return _WRITERS[form](exported)


def format_of(path: Path) -> str:
    """The format that a file's name says: one of FORMATS, or python. Raises InputError if it says
    none."""
    form = _ENDINGS.get(path.suffix)
    if form is None:
        raise InputError(f"{path}: the name must end in one of {list(_ENDINGS)}, or give --format")
    return form


def check_name(path: Path, form: str) -> None:
    """Raise InputError if a file's name says another format than is written; other names may be."""
    said = _ENDINGS.get(path.suffix, form)
    if said != form and (said, form) != ("json", "ray"):  # points for Ray are JSON
        raise InputError(f"{path}: the name is that of {said}, not of {form}; give another name")


def read(path: Path) -> dict[str, Any]:
    """An exported document; raises InputError naming the file and what is wrong with it."""
    exported = _parsed(path)
    for section in _DOCUMENT:
        if not isinstance(exported.get(section), dict):
            raise InputError(f"{path}: section [{section}] is missing; export the study again")
    built_in = "trainable" not in exported["training"]
    for section, rules in _DOCUMENT.items():
        if built_in and section == "training":
            rules = _TRAINING
        elif not built_in and section == "result":
            continue
        if rules:
            _check_section(f"{path}: [{section}]", exported[section], rules)
    for section in exported:
        if section not in _DOCUMENT:
            raise InputError(f"{path}: section [{section}] is unknown")
    return exported


def _parsed(path: Path) -> dict[str, Any]:
    reader = _READERS.get(path.suffix.removeprefix("."))
    if reader is None:
        raise InputError(f"{path}: the name must end in one of {['.' + f for f in _READERS]}")
    try:
        exported = reader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path}: damaged: {' '.join(str(error).split())}") from None
    if not isinstance(exported, dict):
        raise InputError(f"{path}: holds no exported configuration")
    return exported


def _check_section(where: str, section: dict[str, Any], rules: Mapping[str, _Rule]) -> None:
    for key, value in section.items():
        if key not in rules:
            raise ConfigurationError(f"{where} {key} is unknown; there are {list(rules)}")
        fits, right = rules[key]
        if not fits(value):
            raise ConfigurationError(f"{where} {key} = {value!r} must be {right}")
    for key in rules:
        if key not in section and key not in _OPTIONAL:
            raise ConfigurationError(f"{where} {key} is missing; export the study again")
