"""Ray Tune's callback as a view of the coordinator: what happened is recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.result import (
    AUTO_RESULT_KEYS,
    DEBUG_METRICS,
    DONE,
    SHOULD_CHECKPOINT,
    TIME_TOTAL_S,
    TRAINING_ITERATION,
)
from ray.tune.utils import flatten_dict

from metatune.errors import StoreError
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.known_refinement import REFINED
from metatune.orchestration.known_weights import KEPT
from metatune.orchestration.populations import Populations
from metatune.orchestration.reasons import failures, raised
from metatune.orchestration.setbacks import Cause, Setbacks, cause_of, is_full

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

# What Ray adds to every result of its own.
_RAYS = {*AUTO_RESULT_KEYS, *DEBUG_METRICS, SHOULD_CHECKPOINT, DONE, "experiment_tag"}


def own_metrics(result: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """What the trainable itself measured, of one of Ray's results.

    Nested metrics are named by their path, `group/metric`. What Ray adds of its own is left out,
    unless it is `metric`.
    """
    hidden = _RAYS - {metric}
    own = {key: value for key, value in result.items() if key not in hidden}
    return {k: v for k, v in flatten_dict(own).items() if not k.startswith("config/")}


def tell(coordinator: Coordinator, number: int, result: dict[str, Any]) -> bool:
    """Tell the coordinator one of Ray's results of trial `number`; True if it must stop now."""
    if (refined := result.get(REFINED)) is not None:
        coordinator.refine(number, refined["values"], refined["seconds"])
    metrics = own_metrics(result, coordinator.study.task.metric)
    return coordinator.report(number, result[TRAINING_ITERATION], metrics, result[TIME_TOTAL_S])


class _Recorder(Callback):
    """Ends a search that cannot go on, at Ray Tune's next step."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._setbacks = Setbacks()

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Raise what makes it impossible to go on."""
        self._coordinator.check()

    def _gives_up(self, what: str, trial: TuneTrial, error: str) -> bool:
        """Whether the store is full, with which the search ends."""
        if not is_full(error):
            return False
        problem = error.splitlines()[-1]
        self._coordinator.give_up(
            StoreError(
                f"{trial.storage.trial_fs_path}: the checkpoint of {what} cannot be written: "
                f"{problem}; free some space there and give the same command again"
            )
        )
        return True


class TrialRecorder(_Recorder):
    """Tells the coordinator what each of Ray's trials reported and how it ended.

    A trial whose trainable raises is tried again up to `max_failures` times; one whose process or
    node was lost goes on from its last checkpoint (see setbacks).
    """

    def __init__(
        self, coordinator: Coordinator, running: Mapping[str, int], max_failures: int = 0
    ) -> None:
        super().__init__(coordinator)
        self._running = running
        self._max_failures = max_failures

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Ray does not show its scheduler a result that says `done`; it is reported here."""
        number = self._running[trial.trial_id]
        tell(self._coordinator, number, result)
        if result.get(DONE):
            if KEPT in result:
                self._coordinator.keep_weights(number, result[KEPT])
            self._coordinator.note_done(number)

    def on_checkpoint(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        checkpoint: Checkpoint,
        **info: Any,
    ) -> None:
        """A checkpoint is where the trial resumes."""
        self._coordinator.checkpoint(self._running[trial.trial_id], checkpoint.path)

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """The trial ended by itself, or was stopped by the coordinator, which then knows."""
        self._coordinator.finish(self._running[trial.trial_id])

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """The trial failed, or what it ran on did."""
        number, error = self._running[trial.trial_id], error_of(trial)
        ours, cause = self._coordinator.trials[number], cause_of(error)
        if ours.state.finished:
            return
        if cause is Cause.TRAINABLE:
            if len(failures(ours)) < self._max_failures:
                self._coordinator.retry(number, raised(error))
                self._coordinator.hand_out_again(number)
            else:
                self._coordinator.fail(number, error)
            return
        if cause is Cause.STORE and not self._gives_up(f"trial {number}", trial, error):
            self._coordinator.annotate(number)  # when the store takes something again
        place = ours.checkpoint.step if ours.checkpoint else None
        often = None
        if cause is not Cause.NOT_RESET:
            often = self._setbacks.too_many(number, place, cause)
        if often is None:
            self._coordinator.hand_out_again(number)
        else:
            self._coordinator.fail(number, f"{often}; at last: {error}")


class PopulationRecorder(_Recorder):
    """Tells what became of the workers of populations; what their members show is told by them."""

    def __init__(self, populations: Populations, running: Mapping[str, str]) -> None:
        super().__init__(populations.coordinator)
        self._populations = populations
        self._running = running

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """The worker has no members left, or had to stop."""
        self._populations.leave(self._running[trial.trial_id])

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """The worker was lost or broke down; another goes on, unless that happens too often."""
        name, error = self._running[trial.trial_id], error_of(trial)
        cause = cause_of(error)
        if cause is Cause.STORE and not self._gives_up(f"population {name}", trial, error):
            self._populations.await_store(name)
        often = None
        if cause is not Cause.NOT_RESET:
            often = self._setbacks.too_many(name, self._populations.place(name), cause)
        if often is None:
            self._populations.leave(name)
        else:
            self._populations.give_up(name, f"{often}; at last: {error}")


def error_of(trial: TuneTrial) -> str:
    """Why a trial failed; Ray keeps that in a file of the trial's, in colours, below a line that
    says when."""
    text = _COLOURS.sub("", Path(trial.error_file).read_text(encoding="utf-8"))
    return text.partition("\n")[2].strip()
