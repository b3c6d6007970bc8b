"""The shipped search spaces: every configuration in them builds and trains on every task it fits,
and neither uses nor disturbs a global random generator."""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune import Categorical, SearchSpace
from metatune.errors import SpaceError
from metatune.networks.architectures.building import networks_for
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.data.reading import SCIKIT_LEARN
from metatune.networks.losses import losses_for
from metatune.networks.training import Training
from metatune.orchestration.problem import network_problem
from metatune.space import shipped_spaces

CASES = [
    *((name, task) for name in ("mlp", "transformer") for task in SCIKIT_LEARN),
    *((name, "digits") for name in ("cnn", "resnet")),
    *(("logistic", task) for task in ("digits", "breast_cancer")),
    *((name, "digits_sequence") for name in ("signal", "transformer")),
    ("text", "docstrings"),
]
# What each shipped space is tried on.
TASKS = {"text": "docstrings", "signal": "digits_sequence"}


@cache
def _dataset(task: str) -> Dataset:
    whole = load(task)
    if task not in TASKS.values():
        return whole
    train = Split(whole.train.inputs[:100], whole.train.targets[:100])
    return replace(whole, train=train, validation=train)


@cache
def _space(name: str, task: str) -> SearchSpace:
    return SearchSpace.load(name).restrict("loss", losses_for(_dataset(task).kind))


def _global_states() -> list[object]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - to see that nobody used it
    return [torch.get_rng_state().tolist(), kind, list(keys), rest, random.getstate()]


@pytest.mark.parametrize(("name", "task"), CASES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_every_configuration_trains_without_global_randomness(
    name: str, task: str, data: st.DataObject
) -> None:
    space = _space(name, task)
    seed = data.draw(st.integers(0, 2**32 - 1))
    config = space.sample(np.random.default_rng(seed))
    before = _global_states()
    training = Training(config, _dataset(task), seed=seed, epochs=2)
    scores = training.step()
    assert scores["epoch"] == 1
    assert {"train_loss", "validation_loss"} <= set(scores)
    assert all(isinstance(value, int | float) for value in scores.values())
    assert _global_states() == before


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_every_choice_and_every_end_of_a_range_trains(name: str) -> None:
    task = TASKS.get(name, "digits")
    whole = _dataset(task)
    rows = Split(whole.train.inputs[:100], whole.train.targets[:100])
    few = replace(whole, train=rows, validation=rows)
    space = _space(name, task)
    for index, parameter in enumerate(space.parameters.values()):
        steps = len(parameter.choices) if isinstance(parameter, Categorical) else 2
        for u in np.linspace(0.0, 1.0, steps):
            vector = np.full(len(space), 0.3)
            vector[index] = u
            config = space.decode(vector)
            scores = Training(config, few, epochs=2).step()
            assert np.isfinite(scores["train_loss"]), config


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_a_table_is_searched_by_the_networks_that_take_it(name: str) -> None:
    task = TASKS.get(name, "digits")
    assert network_problem(name, task).space.names == _space(name, task).names
    networks = SearchSpace.load(name).parameters["network"]
    assert isinstance(networks, Categorical)
    if not set(networks.choices) & set(networks_for((4,), "classification")):
        with pytest.raises(SpaceError, match=r"choices = \['.*'\]: none is for 'iris'"):
            network_problem(name, "iris")
    else:
        fitting = networks_for((4,), "classification")
        space = _space(name, "iris").restrict("network", fitting)
        patch = space.parameters.get("patch")
        if isinstance(patch, Categorical):
            space = space.restrict("patch", patch.choices[:1])
        assert network_problem(name, "iris").space == space


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_a_shipped_file_explains_itself(name: str) -> None:
    lines = shipped_spaces()[name].read_text().splitlines()
    assert 2 <= next(i for i, line in enumerate(lines) if not line.startswith("#")) <= 4
    space = SearchSpace.load(name)
    assert SearchSpace.from_toml(space.to_toml()) == space
