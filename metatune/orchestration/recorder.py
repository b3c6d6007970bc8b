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

from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.populations import Populations
from metatune.orchestration.reuse import NOT_RESET

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
    metrics = own_metrics(result, coordinator.study.task.metric)
    return coordinator.report(number, result[TRAINING_ITERATION], metrics, result[TIME_TOTAL_S])


class TrialRecorder(Callback):
    """Tells the coordinator what each of Ray's trials reported and how it ended."""

    def __init__(self, coordinator: Coordinator, running: Mapping[str, int]) -> None:
        self._coordinator = coordinator
        self._running = running

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

    def on_trial_recover(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A lost worker sets its trial back to its last checkpoint."""
        self._coordinator.rewind(self._running[trial.trial_id])

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """The trial ended by itself, or was stopped by the coordinator, which then knows."""
        self._coordinator.finish(self._running[trial.trial_id])

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """The trial failed."""
        number, error = self._running[trial.trial_id], error_of(trial)
        if NOT_RESET in error.rpartition("Failure # ")[2]:
            self._coordinator.hand_out_again(number)
        else:
            self._coordinator.fail(number, error)


class PopulationRecorder(Callback):
    """Tells what became of the workers of populations; what their members show is told by them."""

    def __init__(self, populations: Populations, running: Mapping[str, str]) -> None:
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
        """The worker was lost, or broke down, too often."""
        self._populations.give_up(self._running[trial.trial_id], error_of(trial))


def error_of(trial: TuneTrial) -> str:
    """Why a trial failed; Ray keeps the tracebacks in a file of the trial's, in colours."""
    return _COLOURS.sub("", Path(trial.error_file).read_text(encoding="utf-8")).strip()
