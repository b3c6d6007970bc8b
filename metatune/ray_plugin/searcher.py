"""A search algorithm for a `ray.tune.Tuner` of the user's that remembers earlier studies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from metatune.errors import InputError, SpaceError
from metatune.experience.store import ExperienceStore
from metatune.optimizers.auto import auto
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.orchestration.opening import MakeOptimizer
from metatune.orchestration.search import DEFAULT_STORE
from metatune.ray_plugin.opening import fresh_name, measured_task, open_recording, opened
from metatune.ray_plugin.param_space import ParamSpace, domain_names
from metatune.ray_plugin.recording import Recording
from metatune.space import SearchSpace
from metatune.task import Task

_WHO = "MetaSearch"


class MetaSearch(Searcher):
    """Proposes what to try from what earlier studies learned, and records what is tried.

        tune.TuneConfig(metric="loss", mode="min", search_alg=MetaSearch("my task"),
                        scheduler=MetaScheduler(...))

    Metric and mode are those of the TuneConfig, and what is searched is the Tuner's `param_space`
    of Ray's own domains. Constants in it are left as they are; nested parameters are remembered by
    their path, `optimizer/lr`. With a metatune SearchSpace, which may have conditions, as `space`,
    the `param_space` holds constants at most; Ray then tells a searcher nothing of metric and mode
    where it is empty, so give them here.

    Each run is a study of its own, named `<task>-<8 digits>`; with `study` it has that name, and if
    there are trials under it already, it goes on with them: they count as its history, and those
    that were cut off are run again first. Other settings than before are refused then.

    A trial is recorded, with its curve, when it is proposed and again, durable, when it ends. Ray
    does not tell a searcher whether a scheduler stopped a trial. With MetaScheduler around the
    scheduler that is known; without, a trial that ends with its last report is UNKNOWN unless a
    `stop` limit was reached. Functions that return after their last report are always told apart.

    Ray runs as many trials at a time as fit, or `max_concurrent_trials`; with 1, the same seed,
    store and space give the same configurations.

    Args:
        task: what is learned, by name; or a Task, which also says what is measured, and may
            describe the data by metafeatures.
        store: where experience is kept: a folder or an `s3://` URI.
        space: a SearchSpace or its TOML file, instead of domains in `param_space`.
        metric: the key that is compared, if not by TuneConfig; nested ones are `group/key`.
        mode: "min" or "max", if not by TuneConfig.
        seed: everything random follows from it.
        study: the name of the study.
        optimizer: what proposes, or a function that makes it from what is remembered.
        memory: whether to use what earlier studies learned.

    Raises:
        InputError: something that was given is wrong; most is seen when the Tuner is run.
        StudyLockedError: another process runs the study.
        StoreError: the store failed; what was recorded before stands.
    """

    CKPT_FILE_TMPL = "searcher-state-{}.json"  # what `save` writes is plain JSON

    def __init__(
        self,
        task: Task | str,
        store: ExperienceStore | str | Path = DEFAULT_STORE,
        *,
        space: SearchSpace | str | Path | None = None,
        metric: str | None = None,
        mode: str | None = None,
        seed: int = 0,
        study: str | None = None,
        optimizer: MetaOptimizer | MakeOptimizer = auto,
        memory: bool = True,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"{_WHO}: seed = {seed!r} must be a whole number of at least 0")
        if study is not None and not study.strip():
            raise InputError(f"{_WHO}: study = {study!r} must be a name, or None for a new one")
        self._objective = (metric, mode)
        self._task: Task | str = task
        if isinstance(task, Task) or (metric is not None and mode is not None):
            self._task = measured_task(task, metric, mode, _WHO)
            metric = self._task.metric
            mode = "min" if self._task.direction == "minimize" else "max"
        super().__init__(metric, mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        self._uri = opened(store).uri
        self._given = None if space is None else ParamSpace.of(space)
        self._seed = seed
        self._study = study
        self._optimizer = optimizer
        self._memory = memory
        self._searched = self._given
        self._samples = 0
        self._proposed = 0
        self._limits: Mapping[str, float] = {}
        self._recording: Recording | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the open study: Ray writes its searcher into a snapshot of the Tuner."""
        return {**self.__dict__, "_recording": None}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take in what the Tuner says of a run that begins: what is measured, what is searched,
        how many trials, when they stop. Raises InputError."""
        for name, ours, told in zip(
            ("metric", "mode"), self._objective, (metric, mode), strict=True
        ):
            if ours is not None and told is not None and ours != told:
                raise InputError(f"{_WHO}: {name} = {ours!r}, but TuneConfig says {told!r}")
        self._metric, self._mode = metric or self._metric, mode or self._mode
        measured_task(self._task, self._metric, self._mode, _WHO)
        if self._given is not None:
            _check_constant(config)
        self._searched = self._given or ParamSpace.of(config)
        self._samples = spec.get("num_samples", 0)
        self._limits = spec.get("stop") or {}
        self._proposed = 0
        self._recording = None
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """What to try under Ray's `trial_id`, nested as in the `param_space`."""
        if self._recording is None or (self._recording.is_closed and self._recording.is_idle):
            self._proposed = 0
            self._recording = self._open(self._study, {})
        self._proposed += 1
        return self._recording.space.nested(self._recording.propose(trial_id))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in a result after which the trial goes on."""
        if self._recording is not None:
            self._recording.observe(trial_id, result, goes_on=True)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended; durable when this returns."""
        if self._recording is None:
            return
        if error:
            self._recording.fail(trial_id)
        else:
            self._recording.end(trial_id, result, self._limits)
        if self._recording.is_idle and self._proposed >= self._samples > 0:
            self._recording.close()

    def save(self, checkpoint_path: str) -> None:
        """Write which of Ray's trials are which of the study, as JSON; the rest is in the store."""
        state: dict[str, Any] = {"study": None}
        if self._recording is not None:
            if not self._recording.is_closed:
                self._recording.secure()
            state = {
                "study": self._recording.name,
                "trials": self._recording.numbers,
                "param_space": self._recording.space.to_dict(),
                "samples": self._samples,
                "proposed": self._proposed,
                "stop": {name: float(limit) for name, limit in self._limits.items()},
            }
        Path(checkpoint_path).write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Go on with the study that `save` wrote of, with all of its trials in the store."""
        state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        if state["study"] is None:
            return
        study = opened(self._uri).study(state["study"])
        self._task, self._metric = study.task, study.task.metric
        self._searched = ParamSpace.from_dict(study.space, state["param_space"])
        self._samples, self._proposed = state["samples"], state["proposed"]
        self._limits = state["stop"]
        self._recording = self._open(study.name, state["trials"])

    def _open(self, name: str | None, claimed: Mapping[str, int]) -> Recording:
        if self._searched is None:
            raise SpaceError(
                f"{_WHO}: there is nothing to search; give the Tuner a param_space with domains "
                f"such as tune.uniform(0, 1), or {_WHO} a space="
            )
        task = measured_task(self._task, self._metric, self._mode, _WHO)
        return open_recording(
            opened(self._uri),
            name or fresh_name(task),
            task,
            self._searched,
            seed=self._seed,
            samples=self._samples,
            optimizer=self._optimizer,
            memory=self._memory,
            claimed=claimed,
        )


def _check_constant(config: Mapping[str, Any]) -> None:
    """Raise SpaceError if a `param_space` has domains."""
    names = domain_names(config)
    if names:
        raise SpaceError(
            f"param_space: {names} are domains of Ray's, but {_WHO} was given a space=; leave "
            f"either out"
        )
