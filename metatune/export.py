"""Configurations as files: written by `metatune export`, trained again by `metatune train`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import yaml

from metatune.errors import ConfigurationError, DataError, InputError
from metatune.networks.data import load
from metatune.networks.training import Training
from metatune.study import Study
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
_SECTIONS = ("study", "task", "result", "configuration", "training")


def document(study: Study, trial: Trial) -> dict[str, Any]:
    """A trial with everything that training it again takes, as plain tables."""
    task = study.task
    return {
        "study": {
            "name": study.name,
            "trial": trial.number,
            "metatune": study.versions["metatune"],
        },
        "task": {
            "name": task.name,
            "metric": task.metric,
            "direction": task.direction,
            "measure": task.measure,
            "data_hash": task.data_hash,
        },
        "result": {"value": trial.value, "steps": trial.step, "seconds": trial.cost},
        "configuration": dict(trial.config),
        "training": {
            "seed": trial.seed,
            **{key: value for key, value in trial.training.items() if value is not None},
        },
    }


def to_text(exported: dict[str, Any], form: str) -> str:
    """An exported document in one of FORMATS; raises InputError for what TOML cannot say."""
    if form not in _WRITERS:
        raise InputError(f"format {form!r} must be one of {list(FORMATS)}")
    if form == "toml" and None in exported["configuration"].values():
        raise InputError("format 'toml' cannot say None, which the configuration has; use json")
    return _WRITERS[form](exported)


def read(path: Path) -> dict[str, Any]:
    """An exported document; raises InputError naming the file and what is wrong with it."""
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
    for section in _SECTIONS:
        if not isinstance(exported.get(section), dict):
            raise InputError(f"{path}: section [{section}] is missing; export the study again")
    for section in exported:
        if section not in _SECTIONS:
            raise InputError(f"{path}: section [{section}] is unknown")
    return exported


@dataclass(frozen=True)
class Retrained:
    """What training an exported configuration again gave: `value` beside the `recorded` one, and
    the scores on the test split."""

    recorded: float
    value: float
    test: dict[str, float]


def train(
    exported: dict[str, Any],
    source: str = "export",
    each_epoch: Callable[[int], None] | None = None,
) -> Retrained:
    """Train an exported configuration of a built-in network again.

    `each_epoch` is told the epoch after each one. Raises InputError naming `source` if the
    configuration is a trainable's of the user's, lacks a key, or the data is no longer the same.
    """
    training, task = exported["training"], exported["task"]
    if "data" not in training:
        raise ConfigurationError(
            f"{source}: trial of the trainable {training.get('trainable')!r}; only built-in "
            f"networks are trained here: give [configuration] to that trainable"
        )
    for key in ("seed", "epochs", "threads", "split_seed"):
        if key not in training:
            raise ConfigurationError(f"{source}: [training] {key} is missing")
    dataset = load(training["data"], training.get("target"), split_seed=training["split_seed"])
    if dataset.task().data_hash != task.get("data_hash"):
        raise DataError(
            f"{source}: data {training['data']!r} is no longer what the study {exported['study']} "
            f"was searched on; search again"
        )
    run = Training(
        exported["configuration"],
        dataset,
        seed=training["seed"],
        epochs=training["epochs"],
        threads=training["threads"],
    )
    values = []
    for epoch in range(1, training["epochs"] + 1):
        values.append(run.step()[dataset.task().metric])
        if each_epoch is not None:
            each_epoch(epoch)
    return Retrained(exported["result"]["value"], min(values), run.test_scores())
