from __future__ import annotations

import math

import numpy as np
import pytest
from optimizer_cases import SPACES, ended, lived

from metatune.experience.past import PastTask
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.task_surrogate import TaskSurrogate, is_related
from metatune.parameters import Categorical, Float
from metatune.space import Config, SearchSpace
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState

LINE = SearchSpace({"x": Float(0.0, 1.0)})


def at(number: int, x: float, value: float, state: TrialState = TrialState.COMPLETE) -> Trial:
    return ended(number, Suggestion({"x": x}, "random"), value, state)


def past(trials: list[Trial], space: SearchSpace = LINE) -> PastTask:
    return PastTask(Task("past"), space, tuple(trials))


def test_the_best_is_0_the_median_1_and_failures_2() -> None:
    trials = [at(n, n / 10.0, float(n)) for n in range(5)]
    trials += [at(5, 0.8, math.nan), at(6, 0.9, 0.0, TrialState.FAILED)]
    surrogate = TaskSurrogate(past(trials), LINE, seed=0)
    predicted = surrogate.predict([{"x": x} for x in (0.0, 0.1, 0.2, 0.3, 0.4, 0.8, 0.9)])
    assert predicted == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    assert surrogate.best(2) == [{"x": 0.0}, {"x": 0.1}]


def test_units_and_outliers_do_not_matter() -> None:
    trials = [at(n, n / 10.0, float(n)) for n in range(5)]
    scaled = [at(n, n / 10.0, 1e6 * n - 3e9) for n in range(4)] + [at(4, 0.4, 1e300)]
    asked: list[Config] = [{"x": x} for x in np.linspace(0.0, 0.4, 9)]
    expected = TaskSurrogate(past(trials), LINE, seed=0).predict(asked)
    assert TaskSurrogate(past(scaled), LINE, seed=0).predict(asked) == pytest.approx(expected)


def test_a_task_on_which_all_is_equal_has_no_preference() -> None:
    surrogate = TaskSurrogate(past([at(n, n / 10.0, 3.0) for n in range(5)]), LINE, seed=0)
    assert (surrogate.predict([{"x": 0.0}, {"x": 0.35}]) == 0.0).all()


def test_only_shared_parameters_count() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0), "old": Categorical(("a", "b"))})
    trials = lived(RandomSearch(), space, 0, 12)
    surrogate = TaskSurrogate(past(trials, space), LINE, seed=0)
    assert surrogate.predict([{"x": 0.4, "old": "a"}]) == surrogate.predict([{"x": 0.4}])
    assert surrogate.predict([{"x": 7.0}]) == surrogate.predict([{"x": 1.0}])


def test_many_trials_are_thinned_out_and_the_best_kept() -> None:
    trials = lived(RandomSearch(), SPACES["floats"], 0, 1000)
    surrogate = TaskSurrogate(past(trials, SPACES["floats"]), SPACES["floats"], seed=0)
    ranked = sorted(trials, key=lambda trial: trial.value or 0.0)
    best = [trial.config for trial in ranked[:10]]
    assert surrogate.best(10) == best
    assert surrogate.predict(best).max() < 0.1
    assert surrogate.predict([ranked[-1].config])[0] > 1.5


def test_what_makes_a_task_related() -> None:
    trials = [at(n, n / 10.0, float(n)) for n in range(3)]
    assert is_related(past(trials), LINE)
    assert not is_related(past(trials[:2]), LINE)
    assert not is_related(past([*trials[:2], at(2, 0.5, math.nan)]), LINE)
    assert is_related(past([*trials[:2], at(2, 0.5, 1.0, TrialState.PRUNED)]), LINE)
    pruned = [at(number, 0.5, 1.0, TrialState.PRUNED) for number in range(3)]
    assert not is_related(past(pruned), LINE), "none was trained to its end"
    assert not is_related(past(trials), SearchSpace({"y": Float(0.0, 1.0)}))
