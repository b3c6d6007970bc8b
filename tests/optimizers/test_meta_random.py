"""Meta random search: restarts and perturbations of every kind of parameter."""

from __future__ import annotations

import numpy as np
import pytest
from bowls import SPACE as BOWLS
from bowls import bowl
from hypothesis import given
from hypothesis import strategies as st
from optimizer_cases import SPACES, best_of, ended, lived, study_of

from metatune.errors import InputError
from metatune.optimizers.meta_random import MetaRandomSearch
from metatune.optimizers.random import RandomSearch
from metatune.space import Config
from metatune.trial import Suggestion, TrialState


def test_so_many_are_random_and_the_others_near_the_best() -> None:
    trials = lived(MetaRandomSearch(restart=0.25), SPACES["floats"], 0, 300)
    random = [trial.suggestion.optimizer == "random" for trial in trials]
    assert random[0]
    assert abs(np.mean(random) - 0.25) < 0.07
    best: Config = {}
    moved: list[float] = []
    for number, trial in enumerate(trials):
        if not random[number]:
            step = SPACES["floats"].encode(trial.config) - SPACES["floats"].encode(best)
            moved.append(float(np.abs(step).max()))
        so_far = min(trials[: number + 1], key=lambda one: one.value or 0.0)
        best = so_far.config
    assert 0.0 < np.median(moved) < 0.15
    assert np.quantile(moved, 0.95) > 0.2


@given(st.integers(0, 2**32 - 1))
def test_every_parameter_moves_and_those_that_come_to_exist_are_drawn(seed: int) -> None:
    space = SPACES["tree"]
    config = space.sample(np.random.default_rng(seed))
    known = [ended(0, Suggestion(config, "random"), 1.0)]
    near = MetaRandomSearch(restart=0.0).suggest(study_of(space), known, 3, seed)
    for suggestion in near:
        assert suggestion.optimizer == "meta-random"
        assert space.check(suggestion.config) == suggestion.config


def test_it_finds_more_than_random_search() -> None:
    found = [
        np.mean([best_of(lived(search, BOWLS, s, 40, bowl(99).value)) for s in range(8)])
        for search in (MetaRandomSearch(), RandomSearch())
    ]
    assert found[0] < 0.5 * found[1]


def test_failed_trials_are_no_place_to_search_around() -> None:
    space = SPACES["floats"]
    failed = [
        ended(n, s, 0.0, TrialState.FAILED)
        for n, s in enumerate(RandomSearch().suggest(study_of(space), [], 3, 0))
    ]
    suggestion = MetaRandomSearch(restart=0.0).suggest(study_of(space), failed, 1, 0)[0]
    assert suggestion.optimizer == "random"


def test_a_restart_that_is_no_probability_is_named() -> None:
    with pytest.raises(InputError, match=r"restart = 1.5 must be a probability in \[0, 1\]"):
        MetaRandomSearch(restart=1.5)
