"""Running a coordinator's trials with Ray Tune."""

from __future__ import annotations

import hashlib
import logging
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from metatune.errors import InputError
from metatune.experience.store import ExperienceStore
from metatune.networks.dataset import Dataset
from metatune.orchestration.cluster import environment
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.mailbox import Service
from metatune.orchestration.population_trainable import population_trainable
from metatune.orchestration.populations import Populations
from metatune.orchestration.recorder import PopulationRecorder, TrialRecorder
from metatune.orchestration.reuse import is_reusable, resettable
from metatune.orchestration.scheduler import StudyScheduler
from metatune.orchestration.searcher import PopulationSearch, TrialSearch
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
# How often a population goes on from its last snapshot after its worker was lost.
_POPULATION_FAILURES = 3


@dataclass(frozen=True)
class Resources:
    """What each trial or population gets, and how many run at a time (None: as many as fit the
    cluster)."""

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
    searcher = TrialSearch(coordinator, prepare) if prepare else TrialSearch(coordinator)
    scheduler = StudyScheduler(coordinator, searcher.running, store.filesystem, max_steps)
    recorder = TrialRecorder(coordinator, searcher.running)
    _fit(
        trainable,
        resources,
        run_folder(store, coordinator.study.name),
        store,
        search_alg=searcher,
        scheduler=scheduler,
        callbacks=[recorder, *callbacks],
        # Each trial may be refused once by a process that cannot be reset.
        samples=2 * coordinator.study.trials,
        names=searcher.running,
        max_failures=resources.max_failures,
        is_over=coordinator.is_out_of_time,
    )


def run_populations(
    populations: Populations,
    dataset: Dataset,
    store: ExperienceStore,
    resources: Resources,
    callbacks: Sequence[tune.Callback] = (),
) -> None:
    """Train populations on a data set until the coordinator is over or the user interrupts, as
    `run` does with trials; `resources` are of a population."""
    coordinator = populations.coordinator
    searcher = PopulationSearch(populations)
    folder = run_folder(store, coordinator.study.name)
    with Service(populations.answer) as service:
        try:
            _fit(
                population_trainable(
                    dataset,
                    dict(coordinator.study.training),
                    service.mailbox,
                    store.filesystem,
                    f"{folder}/populations",
                ),
                resources,
                folder,
                store,
                search_alg=searcher,
                scheduler=FIFOScheduler(),
                callbacks=[PopulationRecorder(populations, searcher.running), *callbacks],
                samples=2 * coordinator.study.trials,
                names=searcher.running,
                max_failures=max(resources.max_failures, _POPULATION_FAILURES),
                is_over=lambda: service.has_failed or coordinator.is_out_of_time(),
            )
        finally:
            populations.close()


def _fit(
    trainable: Any,
    resources: Resources,
    folder: str,
    store: ExperienceStore,
    *,
    search_alg: Searcher,
    scheduler: TrialScheduler,
    callbacks: Sequence[tune.Callback],
    samples: int,
    names: Mapping[str, object],
    max_failures: int,
    is_over: Callable[[], bool],
) -> None:
    """Run Ray Tune; `names` holds what each of Ray's trials is called, by its id."""
    reuses = is_reusable(trainable)
    if reuses:
        trainable = resettable(trainable)
    with environment(**_QUIET), _silenced("ray.tune"):
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": resources.cpus, "gpu": resources.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=search_alg,
                scheduler=scheduler,
                num_samples=max(1, samples),
                max_concurrent_trials=resources.fitting(),
                reuse_actors=reuses,
                trial_dirname_creator=lambda trial: str(names[trial.trial_id]),
            ),
            run_config=tune.RunConfig(
                name=uuid.uuid4().hex[:12],
                storage_path=folder,
                storage_filesystem=store.filesystem,
                callbacks=[_NoProgress(), *callbacks],
                checkpoint_config=tune.CheckpointConfig(num_to_keep=2, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=max_failures),
                stop=_Over(is_over),
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


class _Over(Stopper):
    """Stops everything once `is_over` says so."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Ray Tune writes all it is given into a snapshot, which is never read."""
        return {}

    def stop_all(self) -> bool:
        return self._is_over()


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
