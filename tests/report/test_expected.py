"""What random search and a search without memory are expected to give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from crafted import make_study, remembered, searched
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.experience.past import PastTask
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.transfer import Transfer
from metatune.optimizers.transfer_model import TransferModel, fit
from metatune.parameters import Float
from metatune.report.estimates import FEWEST_RANDOM, estimate
from metatune.report.expected import best_of_draws, modelled_random, modelled_tpe
from metatune.report.known import Known
from metatune.report.past_model import PastModel
from metatune.report.task_model import OwnModel
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState

SPACE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})
STUDY = Study("new", Task("new"), SPACE, seed=3)


def bowl(config: Config, centre: float = 0.3) -> float:
    """Distance from a point on the diagonal."""
    x, y = config["x"], config["y"]
    assert isinstance(x, float)
    assert isinstance(y, float)
    return math.hypot(x - centre, y - centre)


def ended(configs: Sequence[Config], centre: float = 0.3, source: str = "given") -> list[Trial]:
    """Complete trials of the bowl."""
    return [
        Trial("new", i, Suggestion(c, source), 0, TrialState.COMPLETE, (), bowl(c, centre), i)
        for i, c in enumerate(configs)
    ]


def drawn(count: int, seed: int, source: str = "given") -> list[Trial]:
    """Complete trials of random configurations."""
    rng = np.random.default_rng(seed)
    return ended([SPACE.sample(rng) for _ in range(count)], source=source)


def place(value: float) -> float:
    """The share of random configurations that are better than a value of the bowl."""
    return float(np.mean([trial.value < value for trial in drawn(4000, 99) if trial.value]))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_best_of_draws_has_the_quantiles_of_simulated_draws(
    values: list[float], count: int
) -> None:
    expected = best_of_draws(values, count)
    rng = np.random.default_rng(0)
    best = np.minimum.accumulate(rng.choice(values, (4000, count)), axis=1)
    for quantile, row in zip(
        (0.1, 0.5, 0.9), (expected.low, expected.middle, expected.high), strict=True
    ):
        below = (best < row - 1e-12).mean(axis=0)
        upto = (best <= row + 1e-12).mean(axis=0)
        assert (below <= quantile + 0.04).all()
        assert (upto >= quantile - 0.04).all()


def test_failed_trials_count_as_none() -> None:
    expected = best_of_draws([1.0, math.inf, math.inf, math.inf], 4)
    assert expected.middle.tolist() == [math.inf, math.inf, 1.0, 1.0]


def test_a_model_of_random_trials_expects_of_random_search_what_it_gives() -> None:
    model = OwnModel(SPACE, drawn(60, 0), seed=1)
    assert model.skill > 0.7
    expected = modelled_random(model, SPACE, 20, seed=2)
    for count in (1, 5, 20):
        assert place(expected.middle[count - 1]) == pytest.approx(1 - 0.5 ** (1 / count), abs=0.12)
        assert expected.low[count - 1] <= expected.middle[count - 1] <= expected.high[count - 1]


def test_scores_stand_for_the_values_that_were_measured() -> None:
    trials = drawn(20, 0)
    trials[3] = replace(trials[3], state=TrialState.FAILED, value=None)
    model = OwnModel(SPACE, trials, seed=1)
    values = sorted(trial.value for trial in trials if trial.value is not None)
    told = model.measured(np.linspace(-9.0, 9.0, 2001))
    assert told[0] == values[0]
    assert told[-1] == math.inf
    assert (np.diff(told[np.isfinite(told)]) >= 0.0).all()


@cache
def past_model() -> TransferModel:
    """A model of three bowls with other centres."""
    past = []
    for index, centre in enumerate((0.2, 0.35, 0.5)):
        rng = np.random.default_rng(index)
        trials = ended([SPACE.sample(rng) for _ in range(40)], centre)
        past.append(PastTask(Task(f"past {index}"), SPACE, tuple(trials)))
    model = fit(past, SPACE, seed=0)
    assert model is not None
    return model


@cache
def transferred() -> tuple[Trial, ...]:
    """A search that began from the past bowls: its trials are good ones nearly all."""
    trials: list[Trial] = []
    optimizer = Transfer(past_model())
    for number in range(15):
        suggestion = optimizer.suggest(STUDY, trials, 1, STUDY.seed)[0]
        new = ended([suggestion.config])[0]
        trials.append(replace(new, number=number, finished_index=number, suggestion=suggestion))
    return tuple(trials)


def test_past_tasks_tell_what_random_search_gives_where_the_trials_do_not() -> None:
    trials = transferred()
    assert np.median([place(trial.value or 0.0) for trial in trials]) < 0.1
    past = modelled_random(PastModel(past_model(), STUDY, trials, 0), SPACE, 10, seed=2)
    # Of bad ones a search that tried none knows the less.
    for count, tolerance in ((1, 0.25), (3, 0.1), (10, 0.1)):
        truth = 1 - 0.5 ** (1 / count)
        assert place(past.middle[count - 1]) == pytest.approx(truth, abs=tolerance)


def test_a_simulated_search_without_memory_does_better_than_random_and_than_nothing_known() -> None:
    model = PastModel(past_model(), STUDY, transferred(), 0)
    random = modelled_random(model, SPACE, 30, seed=2)
    tpe = modelled_tpe(model, STUDY, 30, seed=2)
    assert tpe.middle[-1] <= random.middle[-1]
    best = min(trial.value or 0.0 for trial in transferred())
    assert tpe.low.min() >= best
    assert (tpe.low <= tpe.middle).all()
    assert (tpe.middle <= tpe.high).all()
    assert (np.diff(tpe.middle) <= 0.0).all()


def test_which_estimate_is_given_and_why() -> None:
    def told(
        trials: Sequence[Trial], past: TransferModel | None = None
    ) -> tuple[str, str, bool, bool]:
        made = estimate(Known(STUDY, tuple(trials)), past)
        drawn = made.random.expected is not None, made.no_memory.expected is not None
        return made.random.how, made.no_memory.how, *drawn

    random, alone, *drawn_ = told(drawn(FEWEST_RANDOM, 0, "random"))
    assert "20 trials that were proposed at random on this task" in random
    assert "without memory" in alone
    assert drawn_ == [True, False]
    random, alone, *drawn_ = told(transferred(), past_model())
    assert "3 past tasks and the 15 trials" in random
    assert "5 runs of Optuna's TPE" in alone
    assert drawn_ == [True, True]
    random, alone, *drawn_ = told(transferred()[:3], past_model())
    assert random == "that takes 4 trials with a value, and there are 3"
    assert drawn_ == [False, False]
    random, alone, *drawn_ = told(transferred())
    assert "chosen by experience" in random
    assert drawn_ == [False, False]
    random, alone, *drawn_ = told(drawn(60, 0))
    assert "rank correlation" in random
    assert drawn_ == [True, False]
    random, alone, *drawn_ = told(drawn(5, 0))
    assert random == "that takes 12 trials with a value, and there are 5"
    assert drawn_ == [False, False]
    rng = np.random.default_rng(0)
    noise = [replace(trial, value=float(rng.random())) for trial in drawn(60, 0)]
    random, alone, *drawn_ = told(noise)
    assert "too badly" in random
    assert drawn_ == [False, False]


def test_random_trials_of_other_studies_of_the_task_count() -> None:
    study = make_study()
    own = remembered(searched(study, 10, TPE()))
    other = tuple(searched(make_study("other"), 25))
    made = estimate(Known(study, tuple(own), {"other": other}), None)
    assert "25 trials that were proposed at random" in made.random.how
    assert made.random.expected is not None
    assert len(made.random.expected.middle) == 10
