"""Searches of populations on a real Ray."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import tune
from small_networks import SMALL, pinned

from metatune import ExperienceStore, Float, SearchSpace, Study, Trial, search
from metatune.errors import InputError, StoreError, StudyError
from metatune.networks.data.loading import load
from metatune.networks.training import Training
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration import search as search_module
from metatune.orchestration.opening import population_size
from metatune.orchestration.problem import network_problem
from metatune.orchestration.running import Resources
from metatune.orchestration.search import SearchResult
from metatune.parameters import Value
from metatune.trial import Suggestion, TrialState

pytestmark = pytest.mark.usefixtures("cluster")
ONE = Resources(concurrency=1)
TRIALS, SIZE, EPOCHS = 16, 4, 9


# One population of long trials; the first one to be pruned makes for a snapshot.
LONG: dict[str, Any] = {"max_steps": 900, "trials": 4}


def pinned_search(**options: Any) -> SearchResult:
    """A search of populations that can be repeated to the last bit."""
    given: dict[str, Any] = {"population": SIZE, "optimizer": TPE(), "resources": ONE}
    given["display"] = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "fused", pinned)
        return search(SMALL, "iris", **(given | options))


def run(store: Path | str, **options: Any) -> list[Trial]:
    """What a search of populations that spends its budget leaves in the store."""
    given = {"trials": TRIALS, "max_steps": EPOCHS, "store": store, **options}
    assert pinned_search(**given).complete
    trials = ExperienceStore(store).trials()
    assert [t.number for t in trials] == list(range(given["trials"]))
    assert all(t.state.finished for t in trials)
    return trials


def outcomes(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """Everything about each trial that does not depend on the clock."""
    return [
        (
            *(t.number, t.population, t.config, t.seed, t.state, t.value, t.finished_index),
            [(r.step, r.value) for r in t.curve],
        )
        for t in trials
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> list[Trial]:
    return run(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def undisturbed_long(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> list[Trial]:
    return run(tmp_path_factory.mktemp("undisturbed"), **LONG)


def test_every_member_is_a_trial_with_its_own_curve(undisturbed: list[Trial]) -> None:
    groups = itertools.groupby(undisturbed, key=lambda t: t.population)
    assert [name for name, _ in groups] == ["p0", "p4", "p8", "p12"]
    count = {s: sum(t.state is s for t in undisturbed) for s in TrialState}
    assert count[TrialState.COMPLETE] > 0
    assert count[TrialState.PRUNED] > 0
    for t in undisturbed:
        assert t.step == EPOCHS if t.state is TrialState.COMPLETE else t.step < EPOCHS
        assert [r.step for r in t.curve] == list(range(1, t.step + 1))
        assert t.value == min(r.value for r in t.curve)
        assert t.cost == t.curve[-1].seconds > 0
        assert t.training["engine"] == "fused"
        assert t.training["at_once"] >= 1
    assert len({tuple(r.value for r in t.curve) for t in undisturbed}) == TRIALS


def test_each_member_is_what_training_alone_makes_of_it(undisturbed: list[Trial]) -> None:
    dataset = load("iris")
    for t in undisturbed[:6]:
        scores = Training(t.config, dataset, seed=t.seed, epochs=EPOCHS).fit(t.step)
        values = [score["validation_loss"] for score in scores]
        assert [r.value for r in t.curve] == pytest.approx(values, rel=1e-4)


def test_the_best_is_trained_once_more_alone(undisturbed: list[Trial]) -> None:
    ended = [t for t in undisturbed if t.state is TrialState.COMPLETE]
    best = min(ended, key=lambda t: t.value or 0.0)
    assert [t.number for t in undisturbed if "alone" in t.training] == [best.number]
    scores = Training(best.config, load("iris"), seed=best.seed, epochs=EPOCHS).fit()
    assert best.training["alone"] == min(score["validation_loss"] for score in scores)


class Diverging(RandomSearch):
    """Has the second of all trials learn at a rate that ends in no number."""

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        made = super().suggest(study, trials, count, seed, given)
        made[0].config["learning_rate"] = 1e30 if len(trials) == 1 else 0.01
        return made


def test_a_member_that_diverges_fails_alone(tmp_path: Path) -> None:
    wide = SearchSpace({**SMALL.parameters, "learning_rate": Float(1e-3, 1e31)}, SMALL.when)
    result = search(
        wide, "iris", trials=8, population=8, store=tmp_path, max_steps=4, pruner=NoPruner(),
        optimizer=Diverging(), resources=ONE, display=False,
    )  # fmt: skip
    failed = [t for t in result.trials if t.state is TrialState.FAILED]
    assert [t.number for t in failed] == [1]
    assert "validation_loss = nan" in (failed[0].error or "")
    others = [t for t in result.trials if t.number != 1]
    assert all(t.state is TrialState.COMPLETE and t.step == 4 for t in others)
    assert {t.population for t in result.trials} == {"p0"}


class Assassin(threading.Thread):
    """Kills the process that trains a population once before and once after a snapshot of it."""

    def __init__(self, store: Path) -> None:
        super().__init__(daemon=True)
        self.killed: list[int] = []
        self._store = ExperienceStore(store)

    def run(self) -> None:
        for is_ready in (self._has_begun, self._is_saved):
            end = time.monotonic() + 60
            while not (is_ready() and self._kill()) and time.monotonic() < end:
                time.sleep(0.05)

    def _has_begun(self) -> bool:
        return bool(self._store.trials())

    def _is_saved(self) -> bool:
        return any(trial.checkpoint is not None for trial in self._store.trials())

    def _kill(self) -> bool:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                trains = "Trainable.train" in " ".join(process.cmdline())
                if trains and process.pid not in self.killed:
                    process.kill()
                    self.killed.append(process.pid)
                    return True
        return False


def test_a_worker_that_is_killed_goes_on_from_its_last_snapshot(
    tmp_path: Path, undisturbed_long: list[Trial]
) -> None:
    killer = Assassin(tmp_path)
    killer.start()
    trials = run(tmp_path, **LONG)
    assert len(killer.killed) == 2
    assert outcomes(trials) == outcomes(undisturbed_long)


def test_a_store_that_fails_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ExperienceStore.append

    def append(store: ExperienceStore, trials: Sequence[Trial], *check: Any) -> None:
        if any(t.state.finished for t in trials):
            raise StoreError("disk full")
        original(store, trials, *check)

    monkeypatch.setattr(ExperienceStore, "append", append)
    began = time.monotonic()
    with pytest.raises(StoreError, match="disk full"):
        run(tmp_path, **LONG)
    assert time.monotonic() - began < 30
    monkeypatch.undo()
    kept = ExperienceStore(tmp_path).trials()
    assert [t.state for t in kept] == [TrialState.RUNNING] * SIZE, "the search can go on"


class Interrupt(tune.Callback):
    """Ctrl-C once a population is saved."""

    def __init__(self, store: Path | str) -> None:
        self._store = str(store)

    def on_step_end(self, **info: Any) -> None:
        if any(trial.checkpoint is not None for trial in ExperienceStore(self._store).trials()):
            signal.raise_signal(signal.SIGINT)


def stopped_and_resumed(store: Path | str) -> list[Trial]:
    assert not pinned_search(store=store, callbacks=[Interrupt(store)], **LONG).complete
    before = ExperienceStore(store).trials()
    saved = [t for t in before if t.checkpoint is not None]
    assert saved
    assert all(t.state is TrialState.RUNNING for t in saved)
    after = run(store, **LONG)
    for was, now in zip(before, after, strict=True):
        assert now.curve[: was.step] == was.curve, "the same seconds too: it was not trained anew"
    return after


def test_what_was_interrupted_is_resumed(tmp_path: Path, undisturbed_long: list[Trial]) -> None:
    assert outcomes(stopped_and_resumed(tmp_path)) == outcomes(undisturbed_long)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
def test_populations_are_kept_and_resumed_on_s3(s3_uri: str, undisturbed_long: list[Trial]) -> None:
    assert outcomes(stopped_and_resumed(s3_uri)) == outcomes(undisturbed_long)


def test_a_time_budget_stops(tmp_path: Path) -> None:
    began = time.monotonic()
    result = search(
        SMALL, "iris", trials=8, population=SIZE, store=tmp_path, max_steps=9999,
        pruner=NoPruner(), time_budget=6.0, display=False,
    )  # fmt: skip
    assert time.monotonic() - began < 20
    assert not result.complete
    assert not any(trial.state.finished for trial in result.trials)


def test_two_populations_at_a_time(tmp_path: Path) -> None:
    trials = run(tmp_path, resources=Resources(cpus=0.5, concurrency=2), trials=24)
    assert sorted(t.finished_index or 0 for t in trials) == list(range(24))


@pytest.mark.parametrize(("began", "other"), [(4, 1), (4, 8), (None, 4)])
def test_the_size_is_that_of_the_study(tmp_path: Path, began: int | None, other: int) -> None:
    store, problem = ExperienceStore(tmp_path), network_problem(SMALL, "iris")
    training = {} if began is None else {"population": began}
    store.put_study(Study("s", problem.task, SMALL, trials=1, training=training))
    known = [Trial("s", 0, Suggestion({}, "random"), 0)]
    assert population_size(store, problem, "s", known, None) == (began or 1)
    assert population_size(store, problem, "s", known, began or 1) == (began or 1)
    with pytest.raises(StudyError, match=f"population = {began or 1}, not {other}; ask"):
        population_size(store, problem, "s", known, other)
    assert population_size(store, problem, "s", [], None) == 1
    assert population_size(store, problem, "s", [], other) == other


@pytest.mark.parametrize("size", [0, -3, True, 2.5])
def test_what_is_no_size_is_refused(tmp_path: Path, size: Any) -> None:
    with pytest.raises(InputError, match=r"population = .* must be a whole number"):
        search(SMALL, "iris", store=tmp_path, population=size, display=False)


def test_a_trainable_of_ones_own_has_no_populations(tmp_path: Path) -> None:
    def mine(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": 1.0}

    with pytest.raises(InputError, match="population = 4: a trainable of your own"):
        search(SMALL, "toy", mine, store=tmp_path, population=4, display=False)
    assert ExperienceStore(tmp_path).studies() == []
