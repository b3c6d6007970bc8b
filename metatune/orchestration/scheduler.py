"""Ray Tune's scheduler as a view of the coordinator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray.train._internal.checkpoint_manager import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.result import TIME_TOTAL_S, TRAINING_ITERATION
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.recorder import tell
from metatune.orchestration.snapshots import Snapshots

# How long a trial may wait for a process of its own until it gets the next one that is free.
_START_SECONDS = 30.0


class StudyScheduler(FIFOScheduler):
    """Stops the trials that the coordinator's pruner stops, and those at `max_steps`.

    A trial that was running when an earlier driver ended starts from its checkpoint among the
    `snapshots` of the study, or from the beginning if that is gone.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        running: Mapping[str, int],
        snapshots: Snapshots,
        max_steps: int | None = None,
    ) -> None:
        super().__init__()
        self._coordinator = coordinator
        self._running = running
        self._snapshots = snapshots
        self._max_steps = max_steps
        self._waiting: dict[TuneTrial, float] = {}  # for a process, since when

    def on_trial_add(self, tune_controller: TuneController, trial: TuneTrial) -> None:
        """Give Ray's trial the checkpoint of the trial it takes up again, if there is one."""
        self._waiting.pop(trial, None)
        self._waiting[trial] = time.monotonic()
        number = self._running[trial.trial_id]
        ours = self._coordinator.trials[number].checkpoint
        if ours is None or trial.has_checkpoint():
            return
        if not self._snapshots.has(ours.path):
            self._coordinator.lose_checkpoint(number)
            return
        # Ray has no public way to start a trial from a checkpoint of another experiment; its own
        # population-based training goes through the same manager.
        saved = Checkpoint(ours.path, self._snapshots.filesystem)
        progress = {TRAINING_ITERATION: ours.step, TIME_TOTAL_S: ours.seconds}
        manager = trial.run_metadata.checkpoint_manager
        manager.register_checkpoint(_TrainingResult(checkpoint=saved, metrics=progress))

    def choose_trial_to_run(self, tune_controller: TuneController) -> TuneTrial | None:
        """The trial that the next free process is for: the newest. The others wait for processes
        that are being started, and to serve one of them Ray would end the start of its own: with
        short trials none would ever be started but the first."""
        waiting = {t: since for t, since in self._waiting.items() if t.status == TuneTrial.PENDING}
        self._waiting = waiting
        if not waiting:
            return None
        oldest, since = next(iter(waiting.items()))
        is_late = time.monotonic() - since > _START_SECONDS
        return oldest if is_late else next(reversed(waiting))

    def on_trial_result(
        self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """STOP if the trial is pruned, has failed or has trained long enough."""
        stop = tell(self._coordinator, self._running[trial.trial_id], result)
        if stop or (self._max_steps is not None and result[TRAINING_ITERATION] >= self._max_steps):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)
