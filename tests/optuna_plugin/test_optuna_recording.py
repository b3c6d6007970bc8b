"""What Optuna studies add to the store: all of their trials, and each once."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from metatune import ExperienceStore, MetaPruner, MetaSampler, Study, Task
from metatune.trial import Trial, TrialState

Objective = Callable[[optuna.Trial], float]


def recorded(store: ExperienceStore, task: str) -> list[Trial]:
    """What the store has of a task, in order of number."""
    return sorted(store.trials(task=task), key=lambda trial: trial.number)


def growing(trial: optuna.Trial) -> float:
    """Asks for more the more trials there were."""
    x = trial.suggest_float("x", 0.0, 1.0 + trial.number // 3)
    if trial.suggest_categorical("kind", ["a", "b"]) == "b":
        x += trial.suggest_int("y", 1, 3)
    return x


def test_states_values_and_curves_are_as_optuna_has_them(store: ExperienceStore) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        for step in range(3):
            trial.report(x + step, step)
            if trial.number == 1:
                raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError
        return 10 * x

    study = optuna.create_study(
        direction="maximize", sampler=MetaSampler(store, "curves", seed=0, metafeatures={"n": 3.0})
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["accuracy"])
    study.optimize(objective, n_trials=4, catch=(ValueError,))
    trials = recorded(store, "curves")
    assert [t.state for t in trials] == ["COMPLETE", "PRUNED", "FAILED", "COMPLETE"]
    for ours, theirs in zip(trials, study.trials, strict=True):
        assert ours.config == theirs.params
        assert {r.step: r.value for r in ours.curve} == theirs.intermediate_values
        assert ours.value == (None if ours.state == "FAILED" else theirs.value)
        assert ours.finished_index == theirs.number
        assert theirs.duration is not None
        assert 0.0 < ours.cost <= theirs.duration.total_seconds()  # without the proposing
    task = store.tasks()[0]
    assert (task.metric, task.direction, task.metafeatures) == ("accuracy", "maximize", {"n": 3.0})


def test_a_study_says_what_it_learned_from(past: ExperienceStore, objective: Objective) -> None:
    study = optuna.create_study(sampler=MetaSampler(past, "says", seed=0))
    study.optimize(objective, n_trials=3)
    [own] = [s for s in past.studies() if s.task.name == "says"]
    assert own.experience == {"past": 25}
    assert (own.optimizer, own.pruner) == ("MetaSampler", "MedianPruner")
    assert own.model is not None
    record, _ = past.model(own.space.id, own.model)
    assert record["trials"] == 25


def test_the_time_of_proposing_is_not_that_of_training(
    past: ExperienceStore, objective: Objective
) -> None:
    study = optuna.create_study(sampler=MetaSampler(past, "quick", seed=0))
    study.optimize(objective, n_trials=1)  # a model is fitted, which takes longer than this
    [trial] = recorded(past, "quick")
    took = study.trials[0].duration
    assert took is not None
    assert trial.cost < took.total_seconds() / 2


def test_of_a_space_that_grows_no_trial_is_lost_or_doubled(store: ExperienceStore) -> None:
    study = optuna.create_study(sampler=MetaSampler(store, "grows", seed=0))
    study.optimize(growing, n_trials=12)
    trials = recorded(store, "grows")
    assert [t.number for t in trials] == list(range(12))
    assert [t.config for t in trials] == [t.params for t in study.trials]
    spaces = {study.name: study.space for study in store.studies()}
    assert len(spaces) > 1
    for trial in trials:
        spaces[trial.study].check(trial.config)
    last = spaces[trials[-1].study]
    assert last.when == {"y": {"kind": ("b",)}}
    [past] = store.past_tasks()
    assert (len(past.trials), past.space) == (12, last)
    [sampled] = store.past_tasks(most=100)
    assert (len(sampled.trials), sampled.space) == (12, last)
    for part in store.studies():
        whole, of_all = store.whole(part.name)
        assert (whole.space, [t.number for t in of_all]) == (last, list(range(12)))
    store.put_study(Study("another", Task("grows"), last))
    assert store.whole("another") == (store.study("another"), [])


def test_earlier_trials_and_those_of_other_samplers_are_recorded_once(
    store: ExperienceStore,
) -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.optimize(growing, n_trials=5)
    study.sampler = MetaSampler(store, "joined", seed=0)
    study.optimize(growing, n_trials=2)
    study.sampler = RandomSampler(seed=1)
    study.optimize(growing, n_trials=2)
    study.sampler = MetaSampler(store, "joined", seed=0)
    study.optimize(growing, n_trials=1)
    study.add_trial(study.trials[0])
    study.optimize(growing, n_trials=1)
    trials = recorded(store, "joined")
    assert [t.number for t in trials] == list(range(12))
    by_end = sorted(trials, key=lambda t: t.finished_index or 0)
    assert [t.number for t in by_end if t.number != 10] == [*range(10), 11]


def test_a_study_is_no_past_of_itself_but_of_the_next(
    store: ExperienceStore, objective: Objective
) -> None:
    for run in range(2):  # the same program, started again from nothing
        study = optuna.create_study(study_name="shop", sampler=MetaSampler(store, seed=run))
        study.optimize(objective, n_trials=12 - 8 * run)
        study.sampler = MetaSampler(store, seed=run)
        study.optimize(objective, n_trials=1)
    used: dict[str, set[str]] = {}
    for trial in recorded(store, "shop"):
        used.setdefault(trial.study.split("-")[1], set()).add(trial.suggestion.optimizer)
    assert len(used) == 2
    assert {frozenset(names) for names in used.values()} == {
        frozenset({"tpe"}),
        frozenset({"transfer"}),
    }
    assert len(recorded(store, "shop")) == 18


def storage_of(kind: str, folder: Path) -> BaseStorage:
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder / 'study.db'}")
    return JournalStorage(JournalFileBackend(str(folder / "study.log")))


def work(kind: str, folder: Path, store: str, seed: int) -> None:
    """One of several processes on a study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(
        study_name="shared",
        storage=storage_of(kind, folder),
        sampler=MetaSampler(store, "shared", seed=seed),
        pruner=MetaPruner(),
    )
    study.optimize(growing, n_trials=6)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_processes_on_one_study(kind: str, store: ExperienceStore, tmp_path: Path) -> None:
    storage = storage_of(kind, tmp_path)
    optuna.create_study(storage=storage, study_name="shared")
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(kind, tmp_path, store.uri, seed)) for seed in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    study = optuna.load_study(study_name="shared", storage=storage_of(kind, tmp_path))
    trials = recorded(store, "shared")
    assert [t.number for t in trials] == list(range(12))
    assert [t.config for t in trials] == [t.params for t in study.trials]
    assert len({t.study.rpartition("-")[0] for t in trials}) == 1
    assert all(t.state is TrialState.COMPLETE for t in trials)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_study_in_a_storage_learns_from_the_past(
    kind: str, past: ExperienceStore, objective: Objective, tmp_path: Path
) -> None:
    for trials in (2, 2):
        study = optuna.create_study(
            storage=storage_of(kind, tmp_path),
            study_name="kept",
            load_if_exists=True,
            sampler=MetaSampler(past, "kept", seed=0),
        )
        study.optimize(objective, n_trials=trials)
    trials_in_store = recorded(past, "kept")
    assert [t.config for t in trials_in_store] == [t.params for t in study.trials]
    assert {t.suggestion.optimizer for t in trials_in_store} == {"transfer"}


def test_a_study_behind_a_grpc_proxy(
    past: ExperienceStore, objective: Objective, tmp_path: Path
) -> None:
    pytest.importorskip("grpc")
    from optuna.storages import GrpcStorageProxy
    from optuna.storages._grpc.server import make_server

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = make_server(storage_of("journal", tmp_path), "localhost", port)
    thread = threading.Thread(target=server.start)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            proxy = GrpcStorageProxy(host="localhost", port=port)
        proxy.wait_server_ready(timeout=30)
        study = optuna.create_study(storage=proxy, sampler=MetaSampler(past, "proxy", seed=0))
        study.optimize(objective, n_trials=3)
        assert [t.config for t in recorded(past, "proxy")] == [t.params for t in study.trials]
        proxy.close()
    finally:
        server.stop(None).wait()
        thread.join()
