"""The one search loop, on this machine or on a cluster, and proposals without one."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from metatune.errors import InputError
from metatune.experience.lease import Lease
from metatune.experience.starter import PREFIX
from metatune.experience.store import ExperienceStore
from metatune.optimizers.auto import auto
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.pruning import Pruner
from metatune.orchestration.alone import train_best_alone
from metatune.orchestration.cluster import check_store, connected
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.display import Display
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.grouping import check_size
from metatune.orchestration.learned_choices import with_learned
from metatune.orchestration.learned_initializations import with_initializations
from metatune.orchestration.learning import (
    StoreMemory,
    fit_shown,
    known_experience,
    starter_note,
)
from metatune.orchestration.opening import (
    MakeOptimizer,
    open_study,
    population_size,
    record_study,
)
from metatune.orchestration.populations import Populations
from metatune.orchestration.problem import (
    Problem,
    check_own_code,
    fused,
    network_problem,
    own_problem,
)
from metatune.orchestration.resources import Resources
from metatune.orchestration.running import initial_weights, run, run_folder, run_populations
from metatune.orchestration.snapshots import Snapshots
from metatune.orchestration.trainable import configured, network_trainable
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Suggestion, Trial, best_trial

DEFAULT_STORE = "~/.metatune"


@dataclass(frozen=True)
class SearchResult:
    """What a study holds after a search. `complete` tells that all its trials have ended, else
    `stopped_by` what stopped it before: "time budget", "cost budget" or "interrupt"."""

    study: Study
    trials: list[Trial]
    complete: bool
    stopped_by: str | None = None

    @property
    def best(self) -> Trial | None:
        """The best trial that ran to its end, the earliest of equals; None without any."""
        return best_trial(self.study.task, self.trials)


def search(
    space: SearchSpace | str | Path,
    task: Task | str,
    trainable: Any = None,
    *,
    trials: int = 20,
    study: str | None = None,
    store: ExperienceStore | str | Path = DEFAULT_STORE,
    seed: int = 0,
    optimizer: MetaOptimizer | MakeOptimizer = auto,
    memory: bool = True,
    starter: bool = True,
    pruner: Pruner | None = None,
    max_steps: int | None = None,
    target: str | None = None,
    metric: str | None = None,
    resources: Resources = Resources(),  # noqa: B008  # frozen
    time_budget: float | None = None,
    cost_budget: float | None = None,
    address: str | None = None,
    shared_store: bool = False,
    population: int | None = None,
    callbacks: Sequence[tune.Callback] = (),
    display: bool = True,
) -> SearchResult:
    """Search `space` for configurations that do well on `task`; what is learned is remembered.

    Called again for the same study it continues: finished trials stay, trials that were running
    are taken up from their last checkpoint, and a larger `trials` extends it.

    Args:
        space: a search space, its TOML file, or the name of one that is shipped.
        task: for a trainable of your own, a name or a Task that says which metric to look at; for
            the built-in networks, the name of a built-in data set or a data file.
        trainable: any Ray Tune trainable, function or class, given its configuration unchanged;
            None trains the built-in network that the space names.
        trials: how many trials the study has in the end, over all its runs.
        study: its name; by default made of space, task and seed.
        store: where experience is kept: a folder or an `s3://` URI.
        seed: everything random follows from it.
        optimizer: what proposes, or a function that makes it from what is remembered (see
            Memory), such as `lambda memory: Portfolio(memory.past_tasks())`.
        memory: whether to use what earlier studies learned.
        starter: whether that includes the experience that comes with metatune, where a built-in
            network is trained.
        pruner: what stops trials early; by default successive halving where `max_steps` is known,
            see `default_pruner`.
        max_steps: reports after which a trial ends; for built-in networks epochs, by default 27.
        target: column or array to predict, where `task` is a data file.
        metric: what built-in networks are measured by, if not by their validation loss:
            "accuracy", "precision", "recall" or "f1", "recall_at_precision:0.9" or
            "precision_at_recall:0.8", for the second of two classes or the one named behind another
            colon; "rmse" for a regression.
        resources: of one trial or population, and how many of them run at a time. A trial that
            fits no node is refused; with an `address` and a `concurrency` it waits instead, since
            the nodes may be yet to come.
        time_budget: seconds after which the search stops; trials still running can be resumed.
        cost_budget: seconds of training, of all trials of the study together, after which the
            search stops alike. Those of earlier runs count, also of trials that failed or were
            pruned; those that were lost and are trained again do not. A trial counts by the clock,
            whatever its resources, and a member of a population for its share of the time.
        address: Ray cluster to run on; by default a private one on this machine.
        shared_store: whether a store in a folder is one that all nodes of the cluster share.
        population: how many built-in networks of one architecture are trained as one program,
            which takes a fraction of the time where they are small. By default, and with 1, each
            is trained on its own. Ray Tune, and callbacks of your own, see populations instead of
            trials.
        callbacks: Ray Tune callbacks of your own (MLflow, Weights & Biases, TensorBoard, ...).
        display: whether to show progress.

    Raises:
        InputError: something that was given is wrong; the message says what.
        StudyLockedError: another process is searching the same study.
        StoreError: the store failed; what was recorded before stands.
    """
    _check_options(seed, study, time_budget, cost_budget)
    check_size(population)
    deadline = math.inf if time_budget is None else time.monotonic() + time_budget
    most = math.inf if cost_budget is None else cost_budget
    problem = _problem(space, task, trainable, max_steps, target, resources, metric)
    kept = store if isinstance(store, ExperienceStore) else ExperienceStore(store)
    kept.check_writable()
    name = study or f"{problem.space_name}-{problem.task.name}-{seed}"
    with kept.lease(name) as lease:
        known = kept.trials(study=name)
        size = population_size(kept, problem, name, known, population)
        problem = fused(problem, size, resources.gpus)
        check_own_code(problem, known)
        problem = with_learned(problem, kept, name, known)
        problem = with_initializations(problem, kept, name, known)
        weights = initial_weights(kept, name) if problem.dataset is not None else None
        with fit_shown(display) as progress:
            record, meta, stops = open_study(
                kept,
                problem,
                name,
                known,
                trials=trials,
                seed=seed,
                optimizer=optimizer,
                memory=memory,
                pruner=pruner,
                starter=starter,
                progress=progress,
            )
        with GroupCommit(partial(_append, kept, lease)) as commits:
            coordinator = Coordinator(record, known, meta, stops, commits, deadline, most, weights)
            if not coordinator.is_complete():
                with connected(address):
                    _check_fit(resources, address)
                    check_store(kept.uri, is_shared=shared_store or not kept.is_local)
                    record_study(kept, record, known)
                    _run(coordinator, problem, kept, resources, callbacks, display)
            if coordinator.is_complete() and problem.dataset is not None and weights is not None:
                train_best_alone(coordinator, problem.dataset, display, weights)
            commits.flush()
    is_complete = coordinator.is_complete()
    stopped_by = None if is_complete else coordinator.spent() or "interrupt"
    return SearchResult(record, coordinator.trials, is_complete, stopped_by)


def _check_options(
    seed: int,
    study: str | None = None,
    time_budget: float | None = None,
    cost_budget: float | None = None,
) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed = {seed!r} must be a whole number of at least 0")
    if study is not None and not study.strip():
        raise InputError(f"study = {study!r} must be a name; without one it is space-task-seed")
    if study is not None and study.startswith(PREFIX):
        raise InputError(
            f"study = {study!r}: names that begin with {PREFIX!r} are those of studies that come "
            f"with metatune; give another"
        )
    for what, budget in (("time budget", time_budget), ("cost budget", cost_budget)):
        if budget is not None and not budget > 0:
            raise InputError(f"{what} = {budget!r} must be above 0 seconds")


def _check_fit(resources: Resources, address: str | None) -> None:
    """Raise InputError if a trial fits no node, or warn if nodes may come: a private cluster has
    all it will have, and who says how many trials run at a time counts on what others will have."""
    may_grow = address is not None and resources.concurrency is not None
    if (problem := resources.misfit()) is None:
        return
    if not may_grow:
        raise InputError(problem)
    warnings.warn(f"{problem}; the search waits for nodes to come", stacklevel=3)


def _append(store: ExperienceStore, lease: Lease, trials: Sequence[Trial]) -> None:
    store.append(trials, lease.check)  # another may run the study, if this one could not be heard


def _run(
    coordinator: Coordinator,
    problem: Problem,
    store: ExperienceStore,
    resources: Resources,
    callbacks: Sequence[tune.Callback],
    display: bool,
) -> None:
    note = starter_note(coordinator.study.experience) if not coordinator.trials else None
    notes = [note] if note else []
    notes += problem.dataset.report if problem.dataset is not None else ()
    shows = Display(coordinator, notes) if display else nullcontext()
    with shows as shown:
        seen = [*callbacks, *([shown] if shown else [])]
        if problem.dataset is None:
            steps = problem.max_steps
            run(coordinator, problem.trainable, store, resources, max_steps=steps, callbacks=seen)
        elif "population" in problem.training:
            size, epochs = problem.training["population"], problem.training["epochs"]
            populations = Populations(coordinator, size, epochs)
            run_populations(populations, problem.dataset, store, resources, seen)
        else:
            weights = initial_weights(store, coordinator.study.name)
            trainable = network_trainable(
                problem.dataset, problem.training, weights, coordinator.study.space
            )
            steps = problem.max_steps
            run(
                coordinator,
                trainable,
                store,
                resources,
                prepare=configured,
                max_steps=steps,
                callbacks=seen,
            )
        coordinator.flush()
    if coordinator.is_complete() and problem.dataset is not None:
        folder = run_folder(store, coordinator.study.name)
        Snapshots(store.filesystem, folder).delete_all()


def _problem(
    space: SearchSpace | str | Path,
    task: Task | str,
    trainable: Any,
    max_steps: int | None,
    target: str | None,
    resources: Resources,
    metric: str | None,
) -> Problem:
    if trainable is not None:
        if metric is not None:
            raise InputError(
                f"metric = {metric!r} is for built-in networks; with a trainable of your own the "
                f"task says it: Task(name, metric={metric!r})"
            )
        return own_problem(space, task, trainable, max_steps)
    if resources.bundles:
        raise InputError(
            f"bundles = {list(resources.bundles)!r} are for workers that a trainable starts by "
            f"itself; the built-in networks start none"
        )
    threads = max(1, int(resources.cpus))
    return network_problem(space, task, max_steps, target, threads, metric)


def suggest(
    space: SearchSpace | str | Path,
    task: Task | str,
    *,
    count: int = 5,
    store: ExperienceStore | str | Path = DEFAULT_STORE,
    seed: int = 0,
    optimizer: MetaOptimizer | MakeOptimizer = auto,
    target: str | None = None,
    metric: str | None = None,
    starter: bool = True,
) -> list[Suggestion]:
    """What to try first on `task`, from everything the store knows; nothing is run or recorded.

    `task` is a Task, or the name of a data set or data file for the built-in networks; for these
    `metric` is as in `search`, and `starter` adds the experience that comes with metatune. Raises
    InputError as `search` does.
    """
    _check_options(seed)
    if isinstance(task, Task):
        problem = own_problem(space, task)
    else:
        problem = network_problem(space, task, None, target, metric=metric)
    kept = store if isinstance(store, ExperienceStore) else ExperienceStore(store)
    uses = starter and problem.dataset is not None
    experience = known_experience(kept, problem.space, starter=uses)
    memory = StoreMemory(kept, problem.space, experience, keep=False)
    meta = optimizer(memory) if callable(optimizer) else optimizer
    study = Study(f"suggest-{problem.task.name}", problem.task, problem.space, seed)
    return meta.suggest(study, [], count, seed)
