"""Stores with and without past studies, and what was searched in these."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest

from metatune import Categorical, ExperienceStore, Float, Integer, SearchSpace
from metatune.space import Config
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState

Objective = Callable[[optuna.Trial], float]

optuna.logging.set_verbosity(optuna.logging.WARNING)


SPACE = SearchSpace(
    {
        "lr": Float(1e-5, 1e-1, log=True),
        "layers": Integer(1, 4),
        "optimizer": Categorical(("sgd", "adam")),
        "momentum": Float(0.0, 1.0),
    },
    {"momentum": {"optimizer": ("sgd",)}},
)


def loss(config: Config, shift: float) -> float:
    """Best at lr = 10**-3, 2 layers, and momentum near 0.8."""
    momentum = config.get("momentum", 0.4)
    assert isinstance(momentum, float)
    assert isinstance(config["lr"], float)
    assert isinstance(config["layers"], int)
    scale = float(np.log10(config["lr"]))
    return (scale + 3 + shift) ** 2 + abs(config["layers"] - 2) + (momentum - 0.8) ** 2


@pytest.fixture
def objective() -> Objective:
    """The same as in the past, asked for by an Optuna program."""

    def asked(trial: optuna.Trial) -> float:
        config: Config = {
            "lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
            "layers": trial.suggest_int("layers", 1, 4),
            "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam"]),
        }
        if config["optimizer"] == "sgd":
            config["momentum"] = trial.suggest_float("momentum", 0.0, 1.0)
        return loss(config, 0.05)

    return asked


@pytest.fixture(scope="session")
def past_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a past task."""
    folder = tmp_path_factory.mktemp("past")
    store = ExperienceStore(folder)
    rng = np.random.default_rng(0)
    store.put_study(Study("past", Task("past"), SPACE))
    configs = [SPACE.sample(rng) for _ in range(25)]
    store.append(
        [
            Trial(
                "past",
                number,
                Suggestion(config, "random"),
                0,
                TrialState.COMPLETE,
                value=loss(config, 0.0),
                finished_index=number,
            )
            for number, config in enumerate(configs)
        ]
    )
    return folder


@pytest.fixture
def past(past_folder: Path, tmp_path: Path) -> ExperienceStore:
    """A copy of that store."""
    return ExperienceStore(shutil.copytree(past_folder, tmp_path / "past"))


@pytest.fixture
def store(tmp_path: Path) -> ExperienceStore:
    """A store without anything."""
    return ExperienceStore(tmp_path / "store")
