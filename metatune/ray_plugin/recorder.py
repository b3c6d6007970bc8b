"""A callback for a `ray.tune.Tuner` of the user's that records what any searcher tries."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.result import DONE
from ray.tune.utils import flatten_dict

from metatune.errors import ConfigurationError, ExperienceWarning, InputError
from metatune.experience.store import ExperienceStore
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.recorder import error_of
from metatune.orchestration.search import DEFAULT_STORE
from metatune.ray_plugin.opening import (
    fresh_name,
    measured_task,
    open_recording,
    opened,
    recording_of,
)
from metatune.ray_plugin.param_space import ParamSpace, SpaceLike
from metatune.ray_plugin.recording import Recording
from metatune.task import Task

_WHO = "ExperienceRecorder"


class TunersSearcher(RandomSearch):
    """Stands in the record of a study whose trials the searcher of a Tuner proposed; asked itself
    only in place of a trial whose record was damaged."""

    def __str__(self) -> str:
        return "the Tuner's searcher"


class ExperienceRecorder(Callback):
    """Records every trial of a Tuner, whatever its searcher and scheduler.

        tune.RunConfig(callbacks=[ExperienceRecorder("my task", space=param_space,
                                                     metric="loss", mode="min")])

    Ray shows a callback neither its `param_space` nor what is measured, so both are given. Each run
    is a study of its own, named `<task>-<8 digits>` unless `study` says otherwise. A trial is
    recorded when it starts, and again, with its curve and durable, when it ends. With MetaScheduler
    around the scheduler its ends are known; without, a trial that ends with its last report is
    UNKNOWN unless a `stop` limit was reached. Trials that a MetaSearch records are left to it.

    A trial whose configuration is changed while it runs, as population-based training does, is
    recorded as PRUNED at its last report before: what follows is no measurement of either one. A
    configuration that does not fit the space is left out with a warning.

    Args:
        task: what is learned, by name; or a Task, which also says what is measured.
        store: where experience is kept: a folder or an `s3://` URI.
        space: the Tuner's `param_space`, or a SearchSpace or its TOML file. Grids are choices here.
        metric: the key that is compared; nested ones are `group/key`.
        mode: "min" or "max".
        study: the name of the study.

    Raises:
        InputError: something that was given is wrong.
        StudyLockedError: another process runs the study.
        StoreError: the store failed; what was recorded before stands.
    """

    def __init__(
        self,
        task: Task | str,
        store: ExperienceStore | str | Path = DEFAULT_STORE,
        *,
        space: SpaceLike,
        metric: str | None = None,
        mode: str | None = None,
        study: str | None = None,
    ) -> None:
        if study is not None and not study.strip():
            raise InputError(f"{_WHO}: study = {study!r} must be a name, or None for a new one")
        self._task = measured_task(task, metric, mode, _WHO)
        self._uri = opened(store).uri
        self._space = ParamSpace.of(space, grid_search=True)
        self._study = study
        self._samples = 0
        self._recording: Recording | None = None
        self._left_out: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """All but the open study: Ray writes its callbacks into a snapshot of the Tuner."""
        return {**self.__dict__, "_recording": None}

    def setup(self, *, total_num_samples: int | None = None, **info: Any) -> None:
        """Take in how many trials there will be."""
        self._samples = total_num_samples or 0

    def on_trial_start(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Record the trial as running."""
        self._recording_of(trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[TuneTrial],
        trial: TuneTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Take in a result."""
        recording = self._recording_of(trial)
        if recording is not None:
            flat, goes_on = flatten_dict(result), not result.get(DONE)
            recording.observe(trial.trial_id, flat, trial.config, goes_on=goes_on)

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Record how the trial ended; durable when this returns."""
        recording = recording_of(trial.trial_id)
        if recording is not None:
            last = flatten_dict(trial.last_result or {})
            recording.end(trial.trial_id, last, trial.stopping_criterion)

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Record why the trial failed; durable when this returns."""
        recording = self._recording_of(trial)
        if recording is not None:
            recording.fail(trial.trial_id, error_of(trial))

    def on_experiment_end(self, trials: list[TuneTrial], **info: Any) -> None:
        """Let others go on with the study."""
        if self._recording is not None:
            self._recording.close()

    def get_state(self) -> dict[str, Any] | None:
        """Which of Ray's trials are which of the study; the rest is in the store."""
        if self._recording is None:
            return None
        if not self._recording.is_closed:
            self._recording.secure()
        return {"study": self._recording.name, "trials": self._recording.numbers}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with the study of `get_state`, with all of its trials in the store."""
        self._recording = self._open(state["study"], state["trials"])

    def _recording_of(self, trial: TuneTrial) -> Recording | None:
        """The recording of a trial, which is ours unless somebody else records it; None where its
        configuration does not fit."""
        recording = recording_of(trial.trial_id)
        if recording is not None or trial.trial_id in self._left_out:
            return recording
        try:
            config = self._space.flat(trial.config)
        except ConfigurationError as error:
            self._left_out.add(trial.trial_id)
            warnings.warn(f"{_WHO}: a trial is left out: {error}", ExperienceWarning, stacklevel=2)
            return None
        if self._recording is None or self._recording.is_closed:
            self._recording = self._open(self._study or fresh_name(self._task), {})
        self._recording.add(trial.trial_id, config, str(TunersSearcher()))
        return self._recording

    def _open(self, name: str, claimed: dict[str, int]) -> Recording:
        return open_recording(
            opened(self._uri),
            name,
            self._task,
            self._space,
            seed=0,
            samples=self._samples,
            optimizer=TunersSearcher(),
            memory=False,
            claimed=claimed,
        )
