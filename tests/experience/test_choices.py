"""Choices have one name, whatever brought them into the store."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune

from metatune import ExperienceStore, MetaSampler
from metatune.experience.choices import held_value
from metatune.experience.history.importing import carry_out, plan_import
from metatune.experience.history.optuna_storage import read
from metatune.experience.history.runs import flat_config
from metatune.optuna_plugin.distributions import parameter_of
from metatune.parameters import Categorical
from metatune.ray_plugin.param_space import ParamSpace

SHAPES: list[Any] = [(3, 3), [64, 64], {"b": 1, "a": (2, None)}, "plain", 1.5, True]
HELD = ("[3, 3]", "[64, 64]", '{"a": [2, null], "b": 1}', "plain", 1.5, True)


class _Unnamed:
    """Printed with its address."""


@pytest.mark.parametrize(
    ("choice", "held"),
    [
        *zip(SHAPES, HELD, strict=True),
        (None, None),
        (np.float64(0.5), 0.5),
        (math.inf, "inf"),
        (math.sin, "sin"),
        ((math.sin, 1), '["sin", 1]'),
        (_Unnamed(), "_Unnamed"),
        ([_Unnamed], '["_Unnamed"]'),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (b"x", "b'x'"),
    ],
)
def test_names(choice: Any, held: object) -> None:
    assert held_value(choice) == held
    assert type(held_value(choice)) is type(held)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_what_a_storage_gives_back_has_the_name_of_what_was_put_in(choice: Any) -> None:
    assert held_value(json.loads(json.dumps(choice))) == held_value(choice)


def optunas(path: Path, name: str, choices: list[Any], values: list[float]) -> optuna.Study:
    """A study of Optuna's in which each of the choices was tried."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(study_name=name, storage=storage)
    asked = CategoricalDistribution(choices)
    for choice, value in zip(choices, values, strict=True):
        trial = optuna.create_trial(
            params={"shape": choice}, distributions={"shape": asked}, value=value
        )
        study.add_trial(trial)
    return study


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_every_way_into_the_store_holds_choices_alike(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    study = optunas(path, "s", SHAPES, [1.0] * 6)
    in_memory = parameter_of(CategoricalDistribution(SHAPES))
    as_stored = parameter_of(study.trials[0].distributions["shape"])
    (imported,) = read(str(path))
    by_ray = ParamSpace.of({"shape": tune.choice(SHAPES)}).space.parameters["shape"]
    held = Categorical(HELD)
    assert [in_memory, as_stored, by_ray, imported.parameters["shape"]] == [held] * 4
    assert [trial.config["shape"] for trial in imported.trials] == list(HELD)
    lists = json.loads(json.dumps(SHAPES[:2]))
    assert [flat_config({"shape": one}, "/")["shape"] for one in lists] == list(HELD[:2])


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_the_past_of_an_imported_study_speaks_of_tuples(tmp_path: Path) -> None:
    shapes = [(n, n) for n in range(1, 9)]
    store, path = ExperienceStore(tmp_path / "store"), tmp_path / "journal.log"
    for run in range(2):
        optunas(path, f"old {run}", shapes, [float(abs(n - 6)) for n in range(1, 9)])
    carry_out(store, plan_import(store, str(path), "shop"))
    new = optuna.create_study(sampler=MetaSampler(store, "shop", seed=0))
    asked: Any = shapes
    new.optimize(lambda t: float(len(str(t.suggest_categorical("shape", asked)))), n_trials=2)
    assert new.trials[0].params == {"shape": (6, 6)}
    (own,) = [s for s in store.studies() if s.optimizer == "MetaSampler"]
    assert own.experience == {"optuna-old 0": 8, "optuna-old 1": 8}
