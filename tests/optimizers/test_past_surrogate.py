from __future__ import annotations

import math

import numpy as np
import pytest
from bowls import SPACE, Bowl, past_bowls, tried
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import ended

from metatune.experience.past import PastTask
from metatune.optimizers.features import Features
from metatune.optimizers.past_surrogate import (
    MOST_TRIALS,
    PastSurrogate,
    Sample,
    sample,
    scaled,
    squashed,
)
from metatune.optimizers.task_surrogate import WORST
from metatune.parameters import Float, Vectors
from metatune.space import Config, SearchSpace
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState

LINE = SearchSpace({"x": Float(0.0, 1.0)})
numbers = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), min_size=1, max_size=15)
few = settings(max_examples=60, deadline=None)


def sampled(past: PastTask, space: SearchSpace) -> Sample:
    return sample(past, space, Features(space))


def asked(space: SearchSpace, configs: list[Config]) -> Vectors:
    return Features(space).of(configs)


def line(values: list[float], states: dict[int, TrialState] | None = None) -> PastTask:
    """Values at evenly spaced x."""
    trials = []
    for number, value in enumerate(values):
        state = (states or {}).get(number, TrialState.COMPLETE)
        x = number / max(len(values) - 1, 1)
        trials.append(ended(number, Suggestion({"x": x}, "random"), value, state))
    return PastTask(Task("line"), LINE, tuple(trials))


@given(numbers, st.integers(0, 3))
@few
def test_labels_are_0_at_the_best_and_1_at_the_median(values: list[float], failed: int) -> None:
    given_values = np.asarray(values + [math.inf] * failed)
    labels = scaled(given_values)
    assert labels.min() == 0.0
    assert labels.max() <= WORST
    assert (labels[len(values) :] == WORST).all()
    median, best = float(np.median(values)), min(values)
    assert (labels[given_values == best] == 0.0).all()
    if median > best:
        assert labels[given_values == median] == pytest.approx(1.0)
        assert ((labels > 1.0) == (given_values > median)).all()
    order = np.argsort(given_values, kind="stable")
    assert (np.diff(labels[order]) >= 0.0).all()


@given(numbers, st.floats(1e-2, 1e3), st.floats(-1e3, 1e3))
@few
def test_units_do_not_matter(values: list[float], unit: float, shift: float) -> None:
    moved = scaled(unit * np.asarray(values) + shift)
    assert moved == pytest.approx(scaled(np.asarray(values)), abs=1e-4)


def test_a_sample_is_scaled_by_the_median_of_all() -> None:
    values = np.asarray([0.0, 1.0, 2.0])
    assert scaled(values).tolist() == [0.0, 1.0, pytest.approx(2.0 - math.exp(-1.0))]
    assert scaled(values, median=2.0).tolist() == [0.0, 0.5, 1.0]
    past = line([0.0, 1.0, 2.0])
    kept = sampled(PastTask(past.task, past.space, past.trials, median=2.0), LINE)
    assert kept.labels.tolist() == [0.0, 0.5, 1.0]


def test_labels_of_extreme_values_are_numbers() -> None:
    labels = scaled(np.asarray([-1e300, 0.0, 1.0, 1e300, math.inf]))
    assert labels[0] == 0.0
    assert np.isfinite(labels).all()
    assert scaled(np.asarray([3.0, 3.0, 3.0, 4.0, math.inf])).tolist() == [0, 0, 0, WORST, WORST]


@given(st.floats(0.0, 1.0), st.floats(1.0, 50.0))
@few
def test_what_is_worse_than_the_median_is_drawn_together(low: float, high: float) -> None:
    one, other, further = squashed(np.asarray([low, high, high + 1e-3]))
    assert one == pytest.approx(low)
    assert 1.0 <= other <= further <= WORST
    assert other <= high


def test_trials_are_kept_best_first_with_what_became_of_them() -> None:
    states = {1: TrialState.PRUNED, 3: TrialState.FAILED}
    past = line([3.0, 1.0, 2.0, 0.0], states)
    running = Trial("study", 9, Suggestion({"x": 0.9}, "random"), 0)
    kept = sampled(PastTask(past.task, LINE, (*past.trials, running)), LINE)
    assert [config["x"] for config in kept.configs] == pytest.approx([1 / 3, 2 / 3, 0.0, 1.0])
    assert kept.labels == pytest.approx([0.0, 1.0, 2.0 - math.exp(-1.0), WORST])
    assert kept.complete.tolist() == [False, True, True, False]
    assert kept.points[:, 0].tolist() == [config["x"] for config in kept.configs]


def test_what_was_measured_is_given_back() -> None:
    past = past_bowls(count=1, trials=60)[0]
    kept = sampled(past, SPACE)
    predicted = PastSurrogate(kept, seed=0).predict(kept.points)
    assert predicted == pytest.approx(kept.labels, abs=0.1)
    assert np.abs(predicted - kept.labels).mean() < 0.02


def test_between_trials_it_is_better_than_the_mean() -> None:
    past, space = past_bowls(count=1, trials=60)[0], SPACE
    everywhere = tried(space, Bowl(0.75, 0.3, 0.2).value, 9, 200)
    values = np.asarray([trial.value for trial in everywhere])
    configs = [trial.config for trial in everywhere]
    predicted = PastSurrogate(sampled(past, space), seed=0).predict(asked(space, configs))
    assert np.corrcoef(predicted, np.minimum(values, np.median(values)))[0, 1] > 0.8


def test_parameters_that_it_never_had_do_not_matter() -> None:
    space = SearchSpace({"new": Float(0.0, 1.0), **LINE.parameters, "newer": Float(0.0, 1.0)})
    kept = sampled(line([4.0, 3.0, 1.0, 2.0, 5.0, 6.0]), space)
    assert kept.columns == [1]
    surrogate = PastSurrogate(kept, seed=0)
    one, other = surrogate.predict(
        asked(space, [{"x": 0.4, "new": 0.1, "newer": 0.2}, {"x": 0.4, "new": 0.9, "newer": 0.3}])
    )
    assert one == other


def test_what_was_tried_outside_the_range_tells_on_which_side_to_look() -> None:
    wide = SearchSpace({"x": Float(0.0, 2.0)})
    trials = tried(wide, lambda space, config: (float(config["x"] or 0.0) - 1.6) ** 2, 0, 40)
    kept = sampled(PastTask(Task("wide"), wide, tuple(trials)), LINE)
    assert kept.points.max() > 1.5
    surrogate = PastSurrogate(kept, seed=0)
    predicted = surrogate.predict(asked(LINE, [{"x": x} for x in (0.0, 0.3, 0.6, 0.8, 0.99)]))
    assert (np.diff(predicted) < 0.0).all()
    assert predicted[-1] > 0.2, "its best lies beyond"


def test_tasks_on_which_all_is_equal_have_no_preference() -> None:
    surrogate = PastSurrogate(sampled(line([3.0] * 5), LINE), seed=0)
    assert surrogate.predict(asked(LINE, [{"x": 0.1}, {"x": 0.62}])) == pytest.approx(0.0)


def test_with_its_kernel_and_seed_it_is_the_same_again() -> None:
    kept = sampled(past_bowls(count=1)[0], SPACE)
    first = PastSurrogate(kept, seed=3)
    again = PastSurrogate(kept, seed=3, kernel=first.kernel)
    points = asked(SPACE, [SPACE.sample(np.random.default_rng(n)) for n in range(20)])
    assert again.predict(points).tobytes() == first.predict(points).tobytes()
    other = PastSurrogate(kept, seed=4).predict(points)
    assert not np.array_equal(other, first.predict(points))


def test_of_many_trials_the_best_are_kept_and_the_scale_is_that_of_all() -> None:
    count = MOST_TRIALS + 300
    kept = sampled(line([float(n) for n in range(count)]), LINE)
    assert len(kept.labels) == len(kept.configs) == len(kept.points) == MOST_TRIALS
    best = [config["x"] for config in kept.configs[: MOST_TRIALS // 2]]
    assert best == [n / (count - 1) for n in range(MOST_TRIALS // 2)]
    assert kept.configs[-1] == {"x": 1.0}
    assert kept.labels[1] == pytest.approx(1.0 / ((count - 1) / 2))
