"""Searching with a surrogate of one's choice: what past tasks are worth, and when they are not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from bowls import SPACE, bowl, past_bowls, tried
from optimizer_cases import best_of, ended, lived, study_of

from metatune.errors import InputError
from metatune.experience.past import PastTask
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.surrogate import Surrogate
from metatune.optimizers.surrogate_forest import ForestSurrogate
from metatune.optimizers.surrogate_gp import GaussianProcessSurrogate
from metatune.optimizers.surrogate_network import NetworkSurrogate
from metatune.optimizers.surrogate_search import SurrogateSearch
from metatune.optimizers.surrogate_svr import SupportVectorSurrogate
from metatune.task import Task
from metatune.trial import Trial, TrialState

SURROGATES: dict[str, Surrogate] = {
    "gp": GaussianProcessSurrogate(),
    "forest": ForestSurrogate(trees=20),
    "svr": SupportVectorSurrogate(bags=5),
    "network": NetworkSurrogate(members=4, steps=80),
}
every_surrogate = pytest.mark.parametrize("name", SURROGATES)
MINE = bowl(99, 3.0)


def searched(search: SurrogateSearch | RandomSearch, count: int, seed: int = 0) -> list[Trial]:
    return lived(search, SPACE, seed, count, MINE.value)


@every_surrogate
def test_the_past_tasks_are_right_at_the_first_trial(name: str) -> None:
    past = past_bowls(trials=60)
    first = searched(SurrogateSearch(SURROGATES[name], past), 1)[0]
    random = sorted(trial.value or 0.0 for trial in searched(RandomSearch(), 200))
    assert (first.value or math.inf) < random[20]
    assert first.config["kind"] == "good"
    assert set(first.suggestion.tasks) == {past.task.name for past in past}
    assert math.fsum(first.suggestion.tasks.values()) == pytest.approx(1.0)


@every_surrogate
def test_without_past_tasks_it_still_beats_random(name: str) -> None:
    ours = [best_of(searched(SurrogateSearch(SURROGATES[name]), 25, seed)) for seed in range(2)]
    theirs = [best_of(searched(RandomSearch(), 25, seed)) for seed in range(20)]
    assert np.mean(ours) < np.mean(theirs)


@every_surrogate
def test_experience_that_misleads_is_overruled(name: str) -> None:
    upside_down = [
        PastTask(
            past.task,
            past.space,
            tuple(replace(trial, value=-(trial.value or 0.0)) for trial in past.trials),
        )
        for past in past_bowls(trials=60)
    ]
    search = SurrogateSearch(SURROGATES[name], upside_down)
    trials = searched(search, 25)
    assert trials[-1].suggestion.guarded
    assert sum(trials[-1].suggestion.tasks.values()) < 0.5
    first = np.mean([trial.value or 0.0 for trial in trials[:4]])
    assert best_of(trials) < 0.5 * float(first)


def test_the_likest_past_task_speaks_most() -> None:
    near, far = (
        PastTask(replace(Task(name), metafeatures={"rows": rows}), SPACE, tuple(trials))
        for name, rows, trials in (
            ("near", 480.0, tried(SPACE, bowl(1).value, 1, 40)),
            ("far", 1e6, tried(SPACE, bowl(2).value, 2, 40)),
        )
    )
    suggestion = SurrogateSearch(SURROGATES["forest"], [far, near]).suggest(
        study_of(SPACE), [], 1, 0
    )[0]
    assert suggestion.tasks["near"] > suggestion.tasks["far"] > 0.0


def test_what_is_predicted_is_in_units_of_the_metric() -> None:
    trials = searched(SurrogateSearch(SURROGATES["gp"], past_bowls(trials=60)), 20)
    suggestion = trials[-1].suggestion
    assert suggestion.predicted is not None
    assert suggestion.uncertainty is not None
    values = [trial.value or 0.0 for trial in trials]
    assert min(values) - 1.0 < suggestion.predicted < max(values)
    assert 0.0 < suggestion.uncertainty < 5.0


def test_candidates_are_all_tried_before_any_is_again() -> None:
    rng = np.random.default_rng(0)
    candidates = [SPACE.sample(rng) for _ in range(12)]
    search = SurrogateSearch(SURROGATES["forest"], past_bowls(trials=20), candidates)
    trials = searched(search, 12)
    assert {repr(trial.config) for trial in trials} == {repr(config) for config in candidates}
    with pytest.raises(InputError, match="none of 12 candidates has"):
        search.suggest(study_of(SPACE), [], 1, 0, given={"momentum": 0.123})


def test_failures_are_kept_away_from() -> None:
    known = [
        ended(trial.number, trial.suggestion, trial.value or 0.0, TrialState.FAILED)
        if (trial.config["momentum"] or 0.0) > 0.5  # type: ignore[operator]
        else trial
        for trial in searched(RandomSearch(), 40)
    ]
    search = SurrogateSearch(SURROGATES["forest"])
    proposed = search.suggest(study_of(SPACE), known, 4, 0)
    assert sum((one.config["momentum"] or 0.0) > 0.55 for one in proposed) <= 1  # type: ignore[operator]


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(InputError, match="startup_trials = 1 must be at least 2"):
        SurrogateSearch(SURROGATES["gp"], startup_trials=1)
