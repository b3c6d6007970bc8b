"""What can be told of how a trial ended."""

from __future__ import annotations

import pytest
from ray.tune.stopper import (
    CombinedStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    Stopper,
    TimeoutStopper,
    TrialPlateauStopper,
)

from metatune.ray_plugin.endings import ends_some_early, how_it_ended
from metatune.trial import TrialState


@pytest.mark.parametrize(
    ("done", "went_on", "limits", "state"),
    [
        (True, 3, {}, TrialState.COMPLETE),  # it returned after its last report
        (True, 2, {}, TrialState.UNKNOWN),
        (True, None, {}, TrialState.UNKNOWN),
        (True, 2, {"training_iteration": 3}, TrialState.COMPLETE),
        (True, 2, {"training_iteration": 4, "eval/accuracy": 0.5}, TrialState.COMPLETE),
        (True, 2, {"training_iteration": 4, "unknown": 0}, TrialState.UNKNOWN),
        (False, 3, {}, TrialState.PRUNED),  # paused or being saved when it was stopped
    ],
)
def test_ends_without_knowing_the_scheduler(
    done: bool, went_on: int | None, limits: dict[str, float], state: TrialState
) -> None:
    result = {"training_iteration": 3, "eval/accuracy": 0.7, "done": done}
    assert how_it_ended(result, went_on, limits) is state


def test_a_trial_stopped_while_it_waits_is_pruned() -> None:
    assert how_it_ended({}, 3, {"training_iteration": 1}) is TrialState.PRUNED


@pytest.mark.parametrize(
    ("stopper", "some"),
    [
        (None, False),
        (NoopStopper(), False),
        (CombinedStopper(MaximumIterationStopper(3), TimeoutStopper(60)), False),
        (CombinedStopper(MaximumIterationStopper(3), TrialPlateauStopper("loss")), True),
        (FunctionStopper(lambda trial_id, result: False), True),
    ],
)
def test_stoppers_that_may_end_some_trials_early(stopper: Stopper | None, some: bool) -> None:
    assert ends_some_early(stopper) is some
