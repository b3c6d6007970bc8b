"""A scheduler for a `ray.tune.Tuner` of the user's that says which trials were stopped early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from metatune.errors import InputError
from metatune.optimizers.pruning import default_pruner
from metatune.orchestration.recorder import error_of
from metatune.ray_plugin.endings import Result, ends_some_early
from metatune.ray_plugin.opening import recording_of
from metatune.trial import TrialState


class MetaScheduler(TrialScheduler):
    """Lets `inner` decide, and tells MetaSearch or ExperienceRecorder what it decided.

        tune.TuneConfig(scheduler=MetaScheduler(ASHAScheduler(max_t=27)), ...)

    A trial that `inner` stops is recorded as PRUNED, one that ended otherwise as COMPLETE. One that
    is stopped for having got to the end, `max_t` of ASHA and HyperBand or else `max_steps`, is
    COMPLETE. UNKNOWN is one that ended with a `ray.tune.stopper.Stopper` around that may end some
    trials early, as Ray does not say whether it did.

    Without `inner`, trials run in order. With `max_steps`, they then end at that step, and
    successive halving stops the worst two thirds at a third of it, and at a ninth unless MetaSearch
    proposes what earlier tasks taught it, compared by what
    MetaSearch or ExperienceRecorder has recorded in the study.

    Args:
        inner: any scheduler of Ray's, in full: what is asked of this one is asked of it.
        max_steps: `training_iteration` of a full trial.

    Raises:
        InputError: `inner` is no scheduler, or `max_steps` is below 1; when running, that
            halving has no records to go by.
    """

    def __init__(self, inner: TrialScheduler | None = None, max_steps: int | None = None) -> None:
        if inner is not None and not isinstance(inner, TrialScheduler):
            raise InputError(
                f"MetaScheduler: inner = {inner!r} must be a scheduler such as ASHAScheduler()"
            )
        if max_steps is not None and max_steps < 1:
            raise InputError(f"MetaScheduler: max_steps = {max_steps!r} must be at least 1")
        super().__init__()
        self.inner = FIFOScheduler() if inner is None else inner
        self._max_steps = max_steps
        self._prunes = inner is None and max_steps is not None
        self._stopped: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        """What a scheduler has beyond the common interface is that of `inner`."""
        if name == "inner":  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def metric(self) -> str | None:
        """What `inner` compares."""
        metric: str | None = self.inner.metric
        return metric

    @property
    def supports_buffered_results(self) -> bool:
        """Whether `inner` takes several results at a time."""
        return bool(self.inner.supports_buffered_results)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Tell `inner` what is measured; False if it was told before."""
        return bool(self.inner.set_search_properties(metric, mode, **spec))

    def on_trial_add(self, tune_controller: TuneController, trial: TuneTrial, **info: Any) -> None:
        """See TrialScheduler."""
        self.inner.on_trial_add(tune_controller, trial, **info)

    def on_trial_error(
        self, tune_controller: TuneController, trial: TuneTrial, **info: Any
    ) -> None:
        """See TrialScheduler; why is noted, in case the trial is not tried again."""
        self._stopped.discard(trial.trial_id)
        recording = recording_of(trial.trial_id)
        if recording is not None and trial.error_file is not None:
            recording.explain(trial.trial_id, error_of(trial))
        self.inner.on_trial_error(tune_controller, trial, **info)

    def on_trial_result(
        self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> str:
        """What `inner` decides, or successive halving; STOP is noted."""
        recording = recording_of(trial.trial_id)
        if recording is not None:
            recording.observe(trial.trial_id, result, trial.config)
        decision = str(self.inner.on_trial_result(tune_controller, trial, result, **info))
        if self._prunes and self._is_to_stop(trial, result):
            decision = str(TrialScheduler.STOP)
        if decision == TrialScheduler.STOP:
            self._stopped.add(trial.trial_id)
        else:
            self._stopped.discard(trial.trial_id)
        return decision

    def on_trial_complete(
        self, tune_controller: TuneController, trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """See TrialScheduler; the recording is told how the trial ended."""
        recording = recording_of(trial.trial_id)
        if recording is not None:
            stopper = getattr(tune_controller, "_stopper", None)
            returned = recording.returned(trial.trial_id, result)
            self._stopped |= set() if result.get(DONE) else {trial.trial_id}
            unsure = ends_some_early(stopper) and not returned
            recording.expect(trial.trial_id, self._ending(trial, result, unsure))
        self._stopped.discard(trial.trial_id)
        self.inner.on_trial_complete(tune_controller, trial, result, **info)

    def on_trial_remove(
        self, tune_controller: TuneController, trial: TuneTrial, **info: Any
    ) -> None:
        """See TrialScheduler; a trial that is removed was waiting or paused, and stopped."""
        recording = recording_of(trial.trial_id)
        if recording is not None:
            self._stopped.add(trial.trial_id)
            ending = self._ending(trial, trial.last_result or {}, unsure=False)
            recording.expect(trial.trial_id, ending)
        self._stopped.discard(trial.trial_id)
        self.inner.on_trial_remove(tune_controller, trial, **info)

    def choose_trial_to_run(self, tune_controller: TuneController, **info: Any) -> TuneTrial | None:
        """See TrialScheduler."""
        return self.inner.choose_trial_to_run(tune_controller, **info)

    def debug_string(self) -> str:
        """What `inner` says of itself."""
        return str(self.inner.debug_string())

    def save(self, checkpoint_path: str) -> None:
        """Save `inner`."""
        self.inner.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Restore `inner`."""
        self.inner.restore(checkpoint_path)

    def _ending(self, trial: TuneTrial, result: Result, unsure: bool) -> TrialState:
        if self._is_full(result):
            return TrialState.COMPLETE
        if trial.trial_id in self._stopped:
            return TrialState.PRUNED
        return TrialState.UNKNOWN if unsure else TrialState.COMPLETE

    def _is_full(self, result: Result) -> bool:
        """Whether a trial has trained for as long as any may."""
        if self._max_steps is not None:
            return bool(result.get(TRAINING_ITERATION, 0) >= self._max_steps)
        # Ray's schedulers with an end keep it so, and stop at it whatever was measured.
        deciding = getattr(self.inner, "_base_scheduler", self.inner)
        end = getattr(deciding, "_max_t", getattr(deciding, "_max_t_attr", None))
        unit = getattr(deciding, "_time_attr", TRAINING_ITERATION)
        return end is not None and bool(result.get(unit, 0) >= end)

    def _is_to_stop(self, trial: TuneTrial, result: Mapping[str, Any]) -> bool:
        recording = recording_of(trial.trial_id)
        if recording is None:
            raise InputError(
                f"MetaScheduler: max_steps = {self._max_steps!r} without inner= compares trials by "
                f"what MetaSearch or ExperienceRecorder recorded; add one of them to the Tuner"
            )
        if trial.trial_id not in recording.numbers:  # another configuration than it began with
            return False
        pruner = default_pruner(self._max_steps, recording.is_learned)
        return self._is_full(result) or recording.should_prune(trial.trial_id, pruner)
