from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optimizer_cases import SPACES, best_of, ended, lived, study_of, value_of
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState as OptunaState

from metatune.errors import InputError
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.optuna_history import OptunaHistory, distribution, from_optuna, to_optuna
from metatune.optimizers.optuna_samplers import GP, TPE
from metatune.optimizers.random import RandomSearch
from metatune.parameters import Categorical, Float, Integer
from metatune.space import Config, SearchSpace
from metatune.trial import Suggestion, Trial, TrialState, derive_seed

FLAT = SearchSpace(
    {
        "rate": Float(1e-5, 1e-1, log=True),
        "drop": Float(0.0, 0.9),
        "width": Integer(1, 64, log=True),
        "kind": Categorical(("a", "b", "c")),
    }
)
BRANCHES = SearchSpace(
    {"arm": Categorical(("left", "right")), "x": Float(0.0, 1.0), "y": Float(0.0, 1.0)},
    {"y": {"arm": ("right",)}},
)


def branches_value(space: SearchSpace, config: Config) -> float:
    """Best on the right, with y close to x, wherever that is."""
    if config["arm"] == "left":
        return 0.5
    return (number(config, "x") - number(config, "y")) ** 2


def number(config: Config, name: str) -> float:
    value = config[name]
    assert isinstance(value, float)
    return value


def tried(space: SearchSpace, count: int, seed: int = 0) -> list[Trial]:
    return lived(RandomSearch(), space, seed, count)


def test_tpe_proposes_what_optuna_proposes_in_a_flat_space() -> None:
    trials = tried(FLAT, 40)
    distributions: dict[str, BaseDistribution] = {
        name: distribution(parameter) for name, parameter in FLAT.parameters.items()
    }
    for seed in range(5):
        sampler = optuna.samplers.TPESampler(seed=derive_seed(seed, len(trials)))
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=sampler)
        optuna.logging.set_verbosity(level)
        for trial in trials:
            params = {n: to_optuna(FLAT.parameters[n], v) for n, v in trial.config.items()}
            study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions=distributions, value=trial.value
                )
            )
        theirs = sampler.sample_relative(study, study.ask()._get_latest_trial(), distributions)
        expected = {n: from_optuna(p, theirs[n]) for n, p in FLAT.parameters.items()}
        assert TPE().suggest(study_of(FLAT, seed), trials, 1, seed)[0].config == expected


@pytest.mark.parametrize(
    ("optimizer", "count"), [(TPE(startup_trials=5), 40), (GP(startup_trials=5), 15)]
)
def test_it_beats_random_search(optimizer: MetaOptimizer, count: int) -> None:
    space = SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(3)})
    with_model = [best_of(lived(optimizer, space, seed, count)) for seed in range(3)]
    at_random = [best_of(lived(RandomSearch(), space, seed, 2 * count)) for seed in range(3)]
    assert np.median(with_model) < np.median(at_random)


@pytest.mark.parametrize(
    ("optimizer", "count"), [(TPE(startup_trials=5), 80), (GP(startup_trials=5), 18)]
)
def test_conditional_parameters_are_learned_with_their_parents(
    optimizer: MetaOptimizer, count: int
) -> None:
    last = [
        trial
        for seed in range(2)
        for trial in lived(optimizer, BRANCHES, seed, count, branches_value)[-count // 3 :]
    ]
    right = [trial for trial in last if trial.config["arm"] == "right"]
    assert len(right) > 0.6 * len(last)
    apart = [abs(number(t.config, "x") - number(t.config, "y")) for t in right]
    assert np.median(apart) < 0.18  # at random it is 0.29


@pytest.mark.parametrize(
    ("optimizer", "count"), [(TPE(startup_trials=5), 120), (GP(startup_trials=5), 24)]
)
def test_the_rest_is_conditioned_on_what_is_given(optimizer: MetaOptimizer, count: int) -> None:
    """Also where it is a child of another group than what is given."""
    for space in (BRANCHES, SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})):
        arm: Config = {"arm": "right"} if "arm" in space.parameters else {}
        trials: list[Trial] = []
        for index in range(count):
            given = {**arm, "x": (0.2, 0.8, 0.5)[index % 3]}
            suggestion = optimizer.suggest(study_of(space), trials, 1, 0, given=given)[0]
            apart = abs(number(suggestion.config, "x") - number(suggestion.config, "y"))
            trials.append(ended(index, suggestion, apart))
        assert np.median([t.value or 0.0 for t in trials[-count // 4 :]]) < 0.15  # at random 0.28


def test_a_cached_history_changes_nothing() -> None:
    space = SPACES["tree"]
    study = study_of(space)
    cached = TPE(startup_trials=3)
    whole = tried(space, 12)
    pruned = ended(3, whole[3].suggestion, 0.2, TrialState.PRUNED)
    running = [replace(t, state=TrialState.RUNNING, value=None, curve=()) for t in whole]
    histories = [
        whole[:6],
        [*whole[:6], running[6], running[7]],
        [*whole[:6], whole[6], running[7], whole[8]],  # one of the running ones has ended
        whole,
        [*whole[:3], pruned, *whole[4:]],  # another end than was told
        whole[:5],  # an earlier time
        [whole[1], whole[0], *whole[2:]],  # another study
    ]
    for trials in histories:
        expected = TPE(startup_trials=3).suggest(study, trials, 2, 0)
        assert cached.suggest(study, trials, 2, 0) == expected
    other = study_of(SPACES["floats"])
    trials = tried(SPACES["floats"], 5)
    assert cached.suggest(other, trials, 1, 0) == TPE(startup_trials=3).suggest(other, trials, 1, 0)


def test_a_history_that_went_on_equals_one_told_at_once() -> None:
    whole = tried(FLAT, 6)
    ends = [
        whole[0],
        ended(1, whole[1].suggestion, 0.5, TrialState.PRUNED),
        ended(2, whole[2].suggestion, math.nan, TrialState.FAILED),
        *whole[3:],
    ]
    running = [replace(t, state=TrialState.RUNNING, value=None) for t in ends]
    going_on, at_once = OptunaHistory(FLAT, filled=False), OptunaHistory(FLAT, filled=False)
    for count in range(1, 7):
        assert going_on.tell([*ends[: count - 1], *running[count - 1 : count + 1]])
    assert going_on.tell(ends)
    assert at_once.tell(ends)
    told = []
    for history in (going_on, at_once):
        with history.asking(optuna.samplers.RandomSampler(seed=0)) as asking:
            trials = asking.study.get_trials()
        told.append([(t.state, t.values, t.params, t.intermediate_values) for t in trials])
    assert told[0] == told[1]
    assert going_on.count([OptunaState.COMPLETE]) == at_once.count([OptunaState.COMPLETE]) == 4


def test_every_end_is_told_in_optunas_words() -> None:
    history = OptunaHistory(FLAT, filled=False)
    suggestion = Suggestion(FLAT.decode(np.full(4, 0.5)), "random")
    trials = [
        ended(0, suggestion, 0.5),
        ended(1, suggestion, 0.5, TrialState.PRUNED),
        ended(2, suggestion, math.nan),
        ended(3, suggestion, math.inf),
        ended(4, suggestion, 0.5, TrialState.FAILED),
        ended(5, suggestion, math.nan, TrialState.PRUNED),
        Trial("study", 6, suggestion, 0),
    ]
    assert history.tell(trials)
    with history.asking(optuna.samplers.RandomSampler(seed=0)) as asking:
        told = asking.study.get_trials()
    states = [trial.state.name for trial in told]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "FAIL", "FAIL", "RUNNING", "RUNNING"]
    assert told[0].value == 0.5
    assert told[1].intermediate_values == {1: 1.5, 2: 0.5}
    with history.asking(optuna.samplers.RandomSampler(seed=0)) as asking:
        assert asking.study.get_trials()[-2].state.name == "FAIL"  # the asked one is forgotten


def test_values_outside_the_space_are_moved_into_it_or_left_out() -> None:
    history = OptunaHistory(FLAT, filled=False)
    config: Config = {"rate": 1.0, "drop": "none", "width": 7.6, "kind": "d", "colour": "red"}
    assert history.tell([ended(0, Suggestion(config, "random"), 0.0)])
    with history.asking(optuna.samplers.RandomSampler(seed=0)) as asking:
        assert asking.study.get_trials()[0].params == {"rate": 0.1, "width": 8}


@pytest.mark.parametrize("space", SPACES)
def test_values_pass_through_optuna_unchanged(space: str) -> None:
    for trial in tried(SPACES[space], 20):
        for name, value in trial.config.items():
            parameter = SPACES[space].parameters[name]
            told = to_optuna(parameter, value)
            assert distribution(parameter)._contains(told)
            assert from_optuna(parameter, told) == value
            assert type(from_optuna(parameter, told)) is type(value)


def test_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("optuna").setLevel(logging.INFO)
    for optimizer in (TPE(startup_trials=3), GP(startup_trials=3)):
        optimizer.suggest(study_of(FLAT), tried(FLAT, 4), 1, 0)
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_settings_are_checked() -> None:
    assert str(TPE()) == "tpe(startup=10)"
    assert str(GP(startup_trials=3)) == "gp(startup=3)"
    with pytest.raises(InputError, match="startup_trials = 0 must be at least 1"):
        TPE(startup_trials=0)


def test_running_trials_push_tpe_away() -> None:
    trials = tried(SPACES["one float"], 30)
    batch = TPE().suggest(study_of(SPACES["one float"]), trials, 12, 0)
    values = [float(s.config["a"] or 0.0) for s in batch]
    assert np.ptp(values) > 0.05
    assert value_of(SPACES["one float"], batch[0].config) < 0.05
