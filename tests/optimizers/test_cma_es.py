from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from optimizer_cases import SPACES, best_of, ended, lived, study_of, value_of

from metatune.optimizers.cma_es import CMAES
from metatune.optimizers.random import RandomSearch
from metatune.parameters import Categorical, Float
from metatune.space import Config, SearchSpace
from metatune.trial import Suggestion, TrialState

MIXED = SearchSpace(
    {
        "kind": Categorical(("a", "b", "c", "d")),
        "x": Float(0.0, 1.0),
        "y": Float(0.0, 1.0),
        "z": Float(0.0, 1.0),
    },
    {"z": {"kind": ("a", "b")}},
)


def mixed_value(space: SearchSpace, config: Config) -> float:
    """Best at kind b with every number at 0.3."""
    numbers = [value for value in config.values() if isinstance(value, float)]
    wrong = {"a": 0.2, "b": 0.0, "c": 0.3, "d": 0.4}[str(config["kind"])]
    return wrong + float(np.mean((np.asarray(numbers) - 0.3) ** 2))


def test_it_beats_random_search() -> None:
    space = SearchSpace({f"x{i}": Float(0.0, 1.0) for i in range(8)})
    found = [best_of(lived(CMAES(), space, seed, 80)) for seed in range(5)]
    at_random = [best_of(lived(RandomSearch(), space, seed, 160)) for seed in range(5)]
    assert np.median(found) < np.median(at_random) / 2.0


def test_choices_and_conditional_parameters_are_learned() -> None:
    for seed in range(3):
        last = lived(CMAES(), MIXED, seed, 150, mixed_value)[-30:]
        assert np.mean([trial.config["kind"] == "b" for trial in last]) >= 0.5  # at random 0.25
        values = [t.config["z"] for t in last if isinstance(t.config.get("z"), float)]
        assert np.median(np.asarray(values, dtype=float)) == pytest.approx(0.3, abs=0.12)


def test_a_generation_counts_in_the_order_in_which_its_trials_ended() -> None:
    space = SPACES["floats"]
    study = study_of(space)
    trials = lived(RandomSearch(), space, 0, 24)
    shuffled = [replace(t, finished_index=23 - t.number) for t in trials]
    one = CMAES().suggest(study, trials, 3, 0)
    assert CMAES().suggest(study, shuffled, 3, 0) != one
    reordered = [replace(t, finished_index=None) for t in trials]
    assert CMAES().suggest(study, reordered, 3, 0) == one


def test_a_cached_strategy_changes_nothing() -> None:
    space = SPACES["tree"]
    study = study_of(space)
    cached = CMAES()
    trials = lived(RandomSearch(), space, 0, 30)
    for known in (trials[:9], trials, trials[:20], [trials[1], *trials[1:]]):
        assert cached.suggest(study, known, 2, 0) == CMAES().suggest(study, known, 2, 0)
    for seed in (0, 7):
        assert cached.suggest(study, trials, 2, seed) == CMAES().suggest(study, trials, 2, seed)


def test_a_trial_from_far_away_does_not_throw_it_off() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
    trials = lived(CMAES(), space, 0, 120)
    far = Suggestion({"x": 1.0, "y": 1.0}, "random")
    trials += [ended(120 + n, far, 10.0) for n in range(6)]
    after = CMAES().suggest(study_of(space), trials, 5, 0)
    assert np.median([value_of(space, suggestion.config) for suggestion in after]) < 0.01


def test_pruned_trials_rank_behind_complete_ones() -> None:
    space = SearchSpace({"x": Float(0.0, 1.0)})
    study = study_of(space)
    trials = [
        ended(n, Suggestion({"x": x}, "random"), x) for n, x in enumerate([0.2, 0.4, 0.6, 0.8])
    ]
    low = [replace(t, state=TrialState.PRUNED) if t.config["x"] == 0.2 else t for t in trials]
    mean = [
        np.mean([float(str(s.config["x"])) for s in CMAES().suggest(study, known, 40, 0)])
        for known in (trials, low)
    ]
    assert mean[0] < mean[1] - 0.05


def test_huge_and_equal_values_are_nothing_special() -> None:
    space = SPACES["floats"]
    trials = lived(RandomSearch(), space, 0, 30)
    expected = CMAES().suggest(study_of(space), trials, 1, 0)
    huge = [replace(t, value=(t.value or 0.0) * 1e300) for t in trials]
    assert CMAES().suggest(study_of(space), huge, 1, 0) == expected
    equal = [replace(t, value=1.0) for t in trials]
    space.check(CMAES().suggest(study_of(space), equal, 1, 0)[0].config)
    unknown = [replace(t, value=math.nan) for t in trials]
    failed = [replace(t, value=None, state=TrialState.FAILED) for t in trials]
    expected = CMAES().suggest(study_of(space), failed, 1, 0)
    assert CMAES().suggest(study_of(space), unknown, 1, 0) == expected
