"""Running a coordinator's trials with Ray Tune."""

from __future__ import annotations

import hashlib
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.stopper import Stopper

from metatune.errors import InputError
from metatune.experience.store import ExperienceStore
from metatune.orchestration.cluster import environment
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.recorder import ExperienceRecorder
from metatune.orchestration.reuse import is_reusable, resettable
from metatune.orchestration.scheduler import MetaScheduler
from metatune.orchestration.searcher import MetaSearch
from metatune.trial import Trial

_QUIET = {
    # One display, ours: no second one, no tracebacks of failed trials in between (they are
    # recorded), no CSV and JSON copies of what the store holds.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ray's own snapshots are never read: the store is what a search resumes from.
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
}


@dataclass(frozen=True)
class Resources:
    """What each trial gets, and how many run at a time (None: as many as fit the cluster)."""

    cpus: float = 1.0
    gpus: float = 0.0
    concurrency: int | None = None
    max_failures: int = 0

    def __post_init__(self) -> None:
        for kind, need in self._needs():
            if not 0 <= need < math.inf:
                raise InputError(f"{kind} = {need!r} of a trial must be a number of at least 0")
        if not self.cpus + self.gpus > 0:
            raise InputError("a trial needs a processor or a GPU: cpus = gpus = 0")

    def fitting(self) -> int:
        """How many trials run at a time on the connected cluster."""
        if self.concurrency is not None:
            return self.concurrency
        total = ray.cluster_resources()
        fits = [total.get(kind, 0.0) / need for kind, need in self._needs() if need]
        return max(1, int(min(fits, default=1.0)))

    def _needs(self) -> list[tuple[str, float]]:
        return [("CPU", self.cpus), ("GPU", self.gpus)]

    def check_fit(self) -> None:
        """Raise InputError if the connected cluster can never run one trial."""
        total = ray.cluster_resources()
        for kind, need in self._needs():
            if need > total.get(kind, 0.0):
                raise InputError(
                    f"a trial needs {need:g} {kind}, but the cluster has {total.get(kind, 0.0):g}"
                )


def run(
    coordinator: Coordinator,
    trainable: Any,
    store: ExperienceStore,
    resources: Resources,
    *,
    prepare: Callable[[Trial], dict[str, Any]] | None = None,
    max_steps: int | None = None,
    callbacks: Sequence[tune.Callback] = (),
) -> None:
    """Run trials until the coordinator is over or the user interrupts; needs a connection to a Ray
    cluster on which a trial fits.

    `prepare` makes what the trainable is given out of a trial; by default its configuration.
    """
    searcher = MetaSearch(coordinator, prepare) if prepare else MetaSearch(coordinator)
    scheduler = MetaScheduler(coordinator, searcher.running, store.filesystem, max_steps)
    recorder = ExperienceRecorder(coordinator, searcher.running)
    reuses = is_reusable(trainable)
    if reuses:
        trainable = resettable(trainable)
    with environment(**_QUIET), _silenced("ray.tune"):
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                # Each trial may be refused once by a process that cannot be reset.
                num_samples=2 * max(1, coordinator.study.trials),
                max_concurrent_trials=resources.fitting(),
                reuse_actors=reuses,
                trial_dirname_creator=lambda trial: str(searcher.running[trial.trial_id]),
            ),
            run_config=tune.RunConfig(
                name=uuid.uuid4().hex[:12],
                storage_path=run_folder(store, coordinator.study.name),
                storage_filesystem=store.filesystem,
                callbacks=[recorder, _NoProgress(), *callbacks],
                checkpoint_config=tune.CheckpointConfig(num_to_keep=2, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=resources.max_failures),
                stop=_Deadline(coordinator),
                verbose=0,
            ),
        )
        tuner.fit()


def run_folder(store: ExperienceStore, study: str) -> str:
    """Where Ray keeps checkpoints and files of its own for a study, in the store's file system."""
    return store.path("runs", hashlib.sha256(study.encode()).hexdigest()[:16])


class _NoProgress(TrialProgressCallback):
    """Stands in for Ray's own progress callback, which prints whatever the verbosity."""

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Print nothing."""

    def _print(self, msg: str) -> None:
        """Print nothing."""


class _Deadline(Stopper):
    """Stops everything once time is up."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._coordinator.is_out_of_time()


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
