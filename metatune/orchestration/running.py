"""Running a coordinator's trials with Ray Tune."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from metatune.experience.store import ExperienceStore
from metatune.networks.data.dataset import Dataset
from metatune.orchestration.cluster import environment
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.initial_weights import InitialWeights
from metatune.orchestration.mailbox import MailboxDiedError, Service
from metatune.orchestration.population_trainable import population_trainable
from metatune.orchestration.populations import Populations
from metatune.orchestration.recorder import PopulationRecorder, TrialRecorder
from metatune.orchestration.resources import Resources as Resources
from metatune.orchestration.reuse import is_reusable, resettable
from metatune.orchestration.scheduler import StudyScheduler
from metatune.orchestration.searcher import PopulationSearch, TrialSearch
from metatune.orchestration.setbacks import Cause, Setbacks
from metatune.orchestration.snapshots import Snapshots
from metatune.orchestration.watch import ClusterWatch
from metatune.trial import Trial

_QUIET = {
    # One display, ours: no second one, no tracebacks of failed trials in between (they are
    # recorded), no CSV and JSON copies of what the store holds.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ray's own snapshots are never read: the store is what a search resumes from.
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
    # Else Ray Tune goes on by itself with a trial whose node was taken back, unnoticed by us.
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
}


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

    def fit(watch: ClusterWatch) -> None:
        searcher = TrialSearch(coordinator, prepare) if prepare else TrialSearch(coordinator)
        running = searcher.running
        snapshots = Snapshots(store.filesystem, run_folder(store, coordinator.study.name))
        _fit(
            coordinator,
            trainable,
            resources,
            store,
            search_alg=searcher,
            scheduler=StudyScheduler(coordinator, running, snapshots, max_steps),
            callbacks=[
                watch,
                TrialRecorder(coordinator, running, resources.max_failures),
                *callbacks,
            ],
            names=running,
            is_over=lambda: coordinator.spent() is not None,
        )

    _go_on(coordinator, fit, coordinator.hand_out_all_again)


def run_populations(
    populations: Populations,
    dataset: Dataset,
    store: ExperienceStore,
    resources: Resources,
    callbacks: Sequence[tune.Callback] = (),
) -> None:
    """Train populations on a data set until the coordinator is over or the user interrupts, as
    `run` does with trials; `resources` are of a population."""
    setbacks = Setbacks()
    try:
        while True:
            try:
                _train_populations(populations, dataset, store, resources, callbacks)
                return
            except MailboxDiedError:
                if setbacks.too_many("mailbox", _place(populations.coordinator), Cause.PROCESS):
                    raise
                populations.leave_all()
    finally:
        populations.close()


def _train_populations(
    populations: Populations,
    dataset: Dataset,
    store: ExperienceStore,
    resources: Resources,
    callbacks: Sequence[tune.Callback],
) -> None:
    """Train populations whose workers call through one mailbox."""
    coordinator = populations.coordinator
    with Service(populations.answer) as service:
        trains = population_trainable(
            dataset,
            dict(coordinator.study.training),
            service.mailbox,
            store.filesystem,
            f"{run_folder(store, coordinator.study.name)}/populations",
            initial_weights(store, coordinator.study.name),
            coordinator.study.space,
        )

        def fit(watch: ClusterWatch) -> None:
            searcher = PopulationSearch(populations)
            _fit(
                coordinator,
                trains,
                resources,
                store,
                search_alg=searcher,
                scheduler=FIFOScheduler(),
                callbacks=[watch, PopulationRecorder(populations, searcher.running), *callbacks],
                names=searcher.running,
                is_over=lambda: service.has_failed or coordinator.spent() is not None,
            )

        try:
            _go_on(coordinator, fit, populations.leave_all)
        finally:
            if not service.has_failed:
                populations.close()


def _place(coordinator: Coordinator) -> tuple[object, ...]:
    """How far the search is: what one that begins now goes on from."""
    return tuple((trial.state, trial.checkpoint) for trial in coordinator.trials)


def _go_on(
    coordinator: Coordinator, fit: Callable[[ClusterWatch], None], lose_all: Callable[[], None]
) -> None:
    """Run Ray Tune, again where it breaks off because of what has become of one of its processes:
    it can take a process that died, but not one that was ended for want of memory, say."""
    setbacks = Setbacks()
    with ClusterWatch() as watch:
        while True:
            try:
                fit(watch)
                return
            except RuntimeError as error:
                coordinator.check()
                is_lost = isinstance(error.__cause__, RayError)
                if not is_lost or setbacks.too_many("all", _place(coordinator), Cause.PROCESS):
                    raise
                lose_all()
            except Exception:
                coordinator.check()
                raise


def _fit(
    coordinator: Coordinator,
    trainable: Any,
    resources: Resources,
    store: ExperienceStore,
    *,
    search_alg: Searcher,
    scheduler: TrialScheduler,
    callbacks: Sequence[tune.Callback],
    names: Mapping[str, object],
    is_over: Callable[[], bool],
) -> None:
    """Run Ray Tune; `names` holds what each of Ray's trials is called, by its id."""
    reuses = is_reusable(trainable)
    if reuses:
        trainable = resettable(trainable)
    with environment(**_QUIET), _silenced("ray.tune"):
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources.request()),
            tune_config=tune.TuneConfig(
                search_alg=search_alg,
                scheduler=scheduler,
                num_samples=-1,  # until the coordinator has no more: lost ones are run again
                max_concurrent_trials=resources.fitting(max(1, coordinator.study.trials)),
                reuse_actors=reuses,
                # Of its own each time, or the first checkpoint would replace what it goes on from.
                trial_dirname_creator=_FolderNames(names),
            ),
            run_config=tune.RunConfig(
                name=uuid.uuid4().hex[:12],
                storage_path=run_folder(store, coordinator.study.name),
                storage_filesystem=store.filesystem,
                callbacks=[_NoProgress(), *callbacks],
                checkpoint_config=tune.CheckpointConfig(num_to_keep=2, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),  # see setbacks
                stop=_Over(is_over),
                verbose=0,
            ),
        )
        tuner.fit()


def run_folder(store: ExperienceStore, study: str) -> str:
    """Where Ray keeps checkpoints and files of its own for a study, in the store's file system."""
    return store.path("runs", hashlib.sha256(study.encode()).hexdigest()[:16])


def initial_weights(store: ExperienceStore, study: str) -> InitialWeights:
    """What trainings of a study begin from."""
    return InitialWeights(store.uri, f"{run_folder(store, study)}/parents")


class _FolderNames:
    """Names the folder of one of Ray's trials."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = names

    def __call__(self, trial: Any) -> str:
        return f"{self._names[trial.trial_id]}-{trial.trial_id}"

    def __deepcopy__(self, memo: dict[int, Any]) -> _FolderNames:
        return self

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Ray Tune pickles it with every trial, and never reads it."""
        return {}


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
