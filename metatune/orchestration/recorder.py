"""Ray Tune's callback as a view of the coordinator: what happened is recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.result import TIME_TOTAL_S, TRAINING_ITERATION

from metatune.orchestration.coordinator import Coordinator

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class ExperienceRecorder(Callback):
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
        number, step = self._running[trial.trial_id], result[TRAINING_ITERATION]
        self._coordinator.report(number, step, result, result[TIME_TOTAL_S])

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
        """The trial failed; Ray keeps the traceback in a file of the trial's, in colours."""
        error = _COLOURS.sub("", Path(trial.error_file).read_text(encoding="utf-8"))
        self._coordinator.fail(self._running[trial.trial_id], error.strip())
