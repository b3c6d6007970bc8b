from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune import Task, Trial
from metatune.errors import TaskError
from metatune.task import Measure, Report
from metatune.trial import Suggestion, TrialState, best_trial, derive_seed

values = st.lists(st.floats(), max_size=6)


def curve(values: list[float]) -> tuple[Report, ...]:
    return tuple(Report(step, value, float(step)) for step, value in enumerate(values, 1))


@given(values)
def test_a_trials_value_is_its_last_or_its_best_finite_report(values: list[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    best = Task("t", measure="best").value(curve(values))
    highest = Task("t", measure="best", direction="maximize").value(curve(values))
    assert best == min(finite, default=None)
    assert highest == max(finite, default=None)
    last = Task("t").value(curve(values))
    assert last == (values[-1] if values and math.isfinite(values[-1]) else None)


@given(values, st.sampled_from(["last", "best"]))
def test_a_maximised_task_is_the_minimised_one_upside_down(
    values: list[float], measure: Measure
) -> None:
    task = Task("t", direction="maximize", measure=measure)
    trial = Trial(
        "s", 0, Suggestion({}, "x"), 0, curve=curve(values), value=task.value(curve(values))
    )
    inside = trial.inward(task)
    assert Task("t", measure=measure).value(inside.curve) == inside.value
    assert repr(inside.inward(task)) == repr(trial)


def test_the_best_trial_is_complete_and_the_earliest_of_equals() -> None:
    def trial(number: int, state: TrialState, value: float | None) -> Trial:
        return Trial("s", number, Suggestion({}, "x"), 0, state, value=value)

    trials = [
        trial(0, TrialState.COMPLETE, 2.0),
        trial(1, TrialState.PRUNED, 0.5),
        trial(2, TrialState.COMPLETE, 1.0),
        trial(3, TrialState.COMPLETE, 1.0),
        trial(4, TrialState.FAILED, None),
        trial(5, TrialState.RUNNING, None),
    ]
    best = best_trial(Task("t"), trials)
    assert best is trials[2]
    assert best_trial(Task("t", direction="maximize"), trials) is trials[0]
    assert best_trial(Task("t"), trials[3:][1:]) is None


def test_tasks_are_read_back_equal_and_refuse_what_they_do_not_know() -> None:
    task = Task("t", "auc", "maximize", "best", {"rows": 3.0}, "abc", "words")
    assert Task.from_dict(task.to_dict()) == task
    with pytest.raises(TaskError, match=r"x\.json: 'colour' is unknown"):
        Task.from_dict(task.to_dict() | {"colour": "red"}, "x.json")
    for wrong in ({"direction": "up"}, {"measure": "mean"}, {"name": ""}, {"metric": ""}):
        with pytest.raises(TaskError):
            Task.from_dict(task.to_dict() | wrong)


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(0, 1000))
def test_seeds_are_their_own_for_every_path(seed: int, a: int, b: int) -> None:
    assert derive_seed(seed, a) == derive_seed(seed, a)
    assert 0 <= derive_seed(seed, a) < 2**32
    assert len({derive_seed(seed, a), derive_seed(seed, a, 1), derive_seed(seed, a, 2)}) == 3
    if a != b:
        assert derive_seed(seed, a) != derive_seed(seed, b)
