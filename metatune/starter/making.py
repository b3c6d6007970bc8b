"""Making the starter experience: a search of each of its tasks, in this process.

What is recorded is what a search records: the coordinator is the one of every search, only that it
is asked here instead of by Ray Tune. Of each search half of the trials are random and half are
proposed by TPE from them, so that good and bad regions are known; none is pruned, so that all are
comparable.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from metatune.errors import ConfigurationError
from metatune.experience.starter import PREFIX, starter_experience, starter_sample
from metatune.experience.store import ExperienceStore
from metatune.networks.data.dataset import Dataset
from metatune.networks.training import Training
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.past_surrogate import MOST_TRIALS
from metatune.optimizers.pruning import NoPruner, Pruner
from metatune.optimizers.transfer_model import fit
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.learning import FIT_SEED
from metatune.orchestration.opening import PACKAGES
from metatune.orchestration.prefitted import prefitted, put_prefitted
from metatune.orchestration.problem import dataset_problem
from metatune.starter.tasks import TASKS, StarterTask
from metatune.study import Study
from metatune.trial import Trial

TRIALS: Mapping[str, int] = {"mlp": 80, "cnn": 32}

_BITS = 20

Shown = Callable[[str, int, int], None]


def make(folder: Path, workers: int = 1, show: Shown = lambda name, done, of: None) -> float:
    """Put the starter experience into a store at `folder`; the seconds of processor time that its
    trials took.

    Studies that are there already stay, so that an interrupted making goes on. `show` is told each
    study that is there, and how many of all.
    """
    store = ExperienceStore(folder)
    store.check_writable()
    known = store.cutoff()
    plans = [(space, task) for space, tasks in TASKS.items() for task in tasks]
    left = [(s, t.name) for s, t in plans if known.get(name_of(s, t), 0) < TRIALS[s]]
    done = len(plans) - len(left)
    show("", done, len(plans))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(_make_one, str(folder), space, name) for space, name in left]
        for run in as_completed(runs):
            done += 1
            show(run.result(), done, len(plans))
    store.compact(grace_seconds=0.0)
    fit_all(store)
    return sum(trial.cost for trial in store.trials(columns=["cost"]))


def fit_all(store: ExperienceStore) -> None:
    """Fit a model for each space of the studies, as a first search in that space would."""
    for space in {study.space.id: study.space for study in store.studies()}.values():
        past = starter_sample(store, starter_experience(space, store), space, MOST_TRIALS)
        if not prefitted(store, space, past):
            model = fit(past, space, FIT_SEED)
            if model is not None:
                put_prefitted(store, model)


def _make_one(folder: str, space: str, task_name: str) -> str:
    (task,) = (task for task in TASKS[space] if task.name == task_name)
    study, trials = searched(space, task)
    store = ExperienceStore(folder)
    store.put_study(study)
    # In two files, for compaction leaves one alone, and it is what packs them.
    store.append(trials[::2])
    store.append(trials[1::2])
    return study.name


def searched(space: str, task: StarterTask, count: int | None = None) -> tuple[Study, list[Trial]]:
    """The study of a task in a space, and its trials: all of them, or the first `count`."""
    dataset = task.dataset()
    study, optimizer = _study(space, task, dataset)
    if count is not None:
        study = replace(study, trials=count)
    return study, run(study, optimizer, dataset)


def run(
    study: Study,
    optimizer: MetaOptimizer,
    dataset: Dataset,
    pruner: Pruner = NoPruner(),  # noqa: B008  # frozen
) -> list[Trial]:
    """All trials of a study of built-in networks, trained one after another in this process, each
    until `pruner` stops it; nothing is stored."""
    with GroupCommit(lambda trials: None) as commits:
        coordinator = Coordinator(study, [], optimizer, pruner, commits)
        while (trial := coordinator.ask()) is not None:
            _train(coordinator, trial, dataset)
    return coordinator.trials


def name_of(space: str, task: StarterTask) -> str:
    """The name of the study of a task in a space."""
    return f"{PREFIX}{space}-{task.source}-{task.part}"


def _study(space: str, task: StarterTask, dataset: Dataset) -> tuple[Study, TPE]:
    problem = dataset_problem(space, dataset, task.name)
    optimizer = TPE(startup_trials=TRIALS[space] // 2)
    name = name_of(space, task)
    study = Study(
        name=name,
        task=replace(problem.task, description=task.description),
        space=problem.space,
        seed=zlib.crc32(name.encode()),  # of its own, so that other configurations are tried
        trials=TRIALS[space],
        optimizer=str(optimizer),
        pruner=str(NoPruner()),
        training={**problem.training, "source": task.source},
        versions={package: version(package) for package in PACKAGES},
    )
    return study, optimizer


def _train(coordinator: Coordinator, trial: Trial, dataset: Dataset) -> None:
    """Train a trial to its end. Seconds are of processor time, which other work on the machine
    does not change."""
    epochs, began = coordinator.study.training["epochs"], time.process_time()
    try:
        training = Training(trial.config, dataset, seed=trial.seed, epochs=epochs)
    except ConfigurationError as error:
        coordinator.fail(trial.number, str(error))
        return
    for epoch in range(1, epochs + 1):
        scores = training.step()
        loss = rounded(scores["validation_loss"])
        seconds = rounded(time.process_time() - began)
        if coordinator.report(trial.number, epoch, {"validation_loss": loss}, seconds):
            return
    coordinator.finish(trial.number)


def rounded(number: float) -> float:
    """The number to six digits, in so few bits that many of them take little room."""
    if not math.isfinite(number):
        return number
    fraction, exponent = math.frexp(number)
    return math.ldexp(round(fraction * 2**_BITS), exponent - _BITS)
