"""A search of populations without Ray: workers and driver in one thread."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from fake_population import FakePopulation, loss
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune import Categorical, ExperienceStore, Float, Integer, SearchSpace, Study, Task, Trial
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.pruning import NoPruner, Pruner, SuccessiveHalving
from metatune.orchestration import grouping, population_worker
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.mailbox import SearchOver
from metatune.orchestration.population_worker import PopulationWorker
from metatune.orchestration.populations import Populations
from metatune.orchestration.snapshots import Snapshots
from metatune.trial import TrialState

SPACE = SearchSpace(
    {
        "network": Categorical(("mlp",)),
        "width": Integer(1, 3),
        "learning_rate": Float(0, 1),
        "schedule": Categorical(("constant", "cosine")),
    }
)
EPOCHS, SIZE, BUDGET = 9, 4, 40
EACH = 5  # of a population: places that are freed are taken
TRAINING = {"epochs": EPOCHS, "threads": 1, "engine": "fused", "population": SIZE}
TASK = Task("toy", "validation_loss", measure="best")
STUDY = Study("s", TASK, SPACE, 1, BUDGET, training=TRAINING)
PRUNER = SuccessiveHalving(min_step=1, reduction=3, max_step=EPOCHS)
DATA: Any = None


class Killed(BaseException):
    """Ends a worker or a driver as SIGKILL does: nothing is tidied up."""


class Kill(Enum):
    """The moment of a kill."""

    BEFORE_CALL = "before a call is heard"
    AFTER_CALL = "after it was answered"
    AFTER_APPEND = "right after the store was written"


@pytest.fixture(autouse=True, scope="module")
def patched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_SHARES", BUDGET // EACH)
        patch.setattr(population_worker, "Population", FakePopulation)
        yield


class Searched:
    """A driver on a store in a folder, and its workers."""

    def __init__(
        self, folder: Path, study: Study = STUDY, pruner: Pruner = PRUNER, deadline: float = 1e300
    ) -> None:
        self.folder, self.store = folder, ExperienceStore(folder)
        if self.store.find_study("s") is None:
            self.store.put_study(study)
        self.is_dead, self.appends = False, itertools.count(1)
        self.dies_after: int | None = None
        # Nothing is written but when it has to be: whatever could be lost then is.
        self.commits = GroupCommit(self._append, interval=60)
        known = self.store.trials()
        optimizer = TPE(startup_trials=5)
        self.coordinator = Coordinator(study, known, optimizer, pruner, self.commits, deadline)
        self.populations = Populations(self.coordinator, SIZE, EPOCHS)

    def _append(self, trials: Sequence[Trial]) -> None:
        if not self.is_dead:
            self.store.append(trials)
            self.is_dead = next(self.appends) == self.dies_after

    def worker(self, name: str, call: Callable[..., Any] | None = None) -> PopulationWorker:
        def ask(method: str, *arguments: Any) -> Any:
            answer = self.populations.answer(method, *arguments)
            if answer is None:
                raise SearchOver(method)
            return answer

        snapshots = Snapshots(self.store.filesystem, str(self.folder / "runs" / name))
        return PopulationWorker(name, call or ask, DATA, dict(TRAINING), snapshots)

    def run(self, call: Callable[..., Any] | None = None) -> list[Trial]:
        while (name := self.populations.next()) is not None:
            worker = self.worker(name, call)
            while worker.live:
                worker.tick()
            self.populations.leave(name)
        self.commits.close()
        return self.store.trials()


def outcomes(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """Everything about each trial that does not depend on the clock."""
    return [
        (
            *(t.number, t.population, t.config, t.seed, t.state, t.value, t.finished_index),
            [(r.step, r.value) for r in t.curve],
            t.error,
        )
        for t in trials
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    return Searched(tmp_path_factory.mktemp("undisturbed")).run()


def test_a_search_spends_its_budget_in_populations(undisturbed: list[Trial]) -> None:
    assert [t.number for t in undisturbed] == list(range(BUDGET))
    assert sorted(t.finished_index or 0 for t in undisturbed) == list(range(BUDGET))
    states = {state: sum(t.state is state for t in undisturbed) for state in TrialState}
    assert states[TrialState.RUNNING] == 0
    assert min(states[TrialState.PRUNED], states[TrialState.COMPLETE]) > 0
    groups = itertools.groupby(undisturbed, key=lambda t: t.population)
    for name, members in ((name, list(members)) for name, members in groups):
        assert name == f"p{members[0].number}"
        assert len({t.config["width"] for t in members}) == 1
        assert len(members) == EACH
    for t in undisturbed:
        assert t.checkpoint is None
        if t.curve:
            assert t.training == {**TRAINING, "at_once": SIZE, "compiled": False}
        if t.state is not TrialState.FAILED:
            assert [r.value for r in t.curve] == [
                loss(t.config, t.seed, e) for e in range(1, t.step + 1)
            ]
            assert t.value == min(r.value for r in t.curve)
            seconds = [r.seconds for r in t.curve]
            assert seconds == sorted(seconds)
            assert t.cost == seconds[-1] > 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from(Kill), st.booleans()), max_size=4))
def test_killed_at_any_moment_it_goes_on_as_if_nothing_had_happened(
    tmp_path_factory: pytest.TempPathFactory,
    undisturbed: list[Trial],
    kills: list[tuple[int, Kill, bool]],
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    for at, kill, is_worker in kills:
        search = Searched(folder)
        if kill is Kill.AFTER_APPEND:
            search.dies_after = at
        try:
            search.run(dying(search, at, kill))
        except Killed:
            if is_worker and not search.is_dead:
                for trial in search.coordinator.trials:
                    search.populations.leave(str(trial.population))
                search.run()
            search.is_dead |= kill is Kill.BEFORE_CALL  # what is not flushed is lost, or is not
            search.commits.close()
    assert outcomes(Searched(folder).run()) == outcomes(undisturbed)


def dying(search: Searched, at: int, kill: Kill) -> Callable[..., Any]:
    """What answers calls until something is killed."""
    counted = itertools.count(1)

    def call(method: str, *arguments: Any) -> Any:
        last = next(counted) == at
        if search.is_dead or (last and kill is Kill.BEFORE_CALL):
            raise Killed
        answer = search.populations.answer(method, *arguments)
        assert answer is not None
        if search.is_dead or (last and kill is Kill.AFTER_CALL):
            raise Killed
        return answer

    return call


def test_a_killed_worker_begins_again_and_the_old_one_is_not_heard(
    tmp_path: Path, undisturbed: list[Trial]
) -> None:
    search = Searched(tmp_path)
    name = search.populations.next()
    assert name is not None
    first = search.worker(name)
    first.tick()
    again = search.worker(name)
    with pytest.raises(SearchOver):
        first.tick()
    while again.live:
        again.tick()
    search.populations.leave(name)
    assert outcomes(search.run()) == outcomes(undisturbed)


def test_what_does_not_fit_or_diverges_fails_alone(tmp_path: Path) -> None:
    class Rates(TPE):
        def suggest(self, study: Study, trials: Sequence[Trial], *rest: Any) -> Any:
            (made,) = super().suggest(study, trials, *rest)
            rate = {1: 0.01, 2: 0.99}.get(len(trials), 0.5)
            made.config["learning_rate"] = rate
            return [made]

    search = Searched(tmp_path, pruner=NoPruner())
    search.coordinator._optimizer = Rates()
    trials = search.run()
    failed = {t.number: t.error for t in trials if t.state is TrialState.FAILED}
    assert failed == {
        1: "configuration: learning_rate = 0.01 does not fit",
        2: "step 3 reported validation_loss = nan, which is no finite number",
    }
    assert len(trials[2].curve) == 2
    assert all(t.state is TrialState.COMPLETE for t in trials if t.number not in failed)
    assert [t.population for t in trials[:5]] == ["p0"] * 5


def test_members_that_reach_a_rung_together_are_compared_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(population_worker, "END_SECONDS", 0.0)
    search = Searched(tmp_path, pruner=SuccessiveHalving(min_step=1, reduction=4, max_step=9))
    worker = search.worker(str(search.populations.next()))
    worker.tick()
    first = search.coordinator.trials[:SIZE]
    values = [t.curve[0].value for t in first]
    assert values.index(min(values)) > 0, "the first to be heard is not the best"
    left = [t.number for t in first if t.state is TrialState.RUNNING]
    assert left == [values.index(min(values))]
    search.commits.close()


def test_a_larger_budget_extends_a_finished_search(tmp_path: Path) -> None:
    short = Searched(tmp_path, Study(**{**STUDY.__dict__, "trials": 10})).run()
    assert [t.population for t in short] == ["p0"] * 4 + ["p4"] * 4 + ["p8"] * 2
    longer = Searched(tmp_path).run()
    assert longer[:10] == short
    assert [t.number for t in longer] == list(range(BUDGET))


def test_freed_places_are_taken(tmp_path: Path) -> None:
    study = Study(**{**STUDY.__dict__, "trials": 96})
    trials = Searched(tmp_path, study).run()
    sizes = [len(list(g)) for _, g in itertools.groupby(trials, key=lambda t: t.population)]
    assert sum(sizes) == 96
    assert set(sizes) == {12}
    for first in range(0, 96, 12):
        members = trials[first : first + 12]
        assert any(t.finished_index is not None for t in members)
        assert len({t.config["width"] for t in members}) == 1


def test_two_workers_keep_to_the_budget(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    workers: dict[str, PopulationWorker] = {}
    while not search.coordinator.is_complete():
        while len(workers) < 2 and (name := search.populations.next()) is not None:
            workers[name] = search.worker(name)
        for name, worker in list(workers.items()):
            if worker.live:
                worker.tick()
            if not worker.live:
                search.populations.leave(name)
                del workers[name]
    search.commits.close()
    trials = search.store.trials()
    assert [t.number for t in trials] == list(range(BUDGET))
    assert all(t.state.finished for t in trials)
    assert sorted(t.finished_index or 0 for t in trials) == list(range(BUDGET))


def test_a_free_proposal_joins_a_population_that_it_fits(tmp_path: Path) -> None:
    only = SearchSpace({**SPACE.parameters, "width": Categorical((1,))})
    search = Searched(tmp_path, Study(**{**STUDY.__dict__, "space": only}), NoPruner())
    first = search.populations.next()
    assert first == "p0"
    second = search.populations.next()  # fills the free places of the first before it founds
    assert second == "p4"
    assert [t.population for t in search.coordinator.trials] == ["p0"] * 4 + ["p4"]
    assert search.worker("p0").live == SIZE
    search.commits.close()


def test_a_population_that_is_given_up_fails_with_its_reason(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    name = search.populations.next()
    assert name is not None
    search.worker(name).tick()
    search.populations.give_up(name, "the worker died")
    live = [t for t in search.coordinator.trials if t.error == "the worker died"]
    assert live
    assert all(t.state is TrialState.FAILED and t.value is None for t in live)
    assert len(search.run()) == BUDGET


def test_a_snapshot_that_is_gone_lets_its_members_start_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[Trial]
) -> None:
    monkeypatch.setattr(population_worker, "SNAPSHOT_SECONDS", 0.0)
    search = Searched(tmp_path, pruner=NoPruner())
    worker = search.worker(str(search.populations.next()))
    for _ in range(4):
        worker.tick()
    search.commits.close()
    saved = {t.checkpoint and t.checkpoint.path for t in search.store.trials()}
    assert [str(p) for p in (tmp_path / "runs" / "p0").iterdir()] == [str(p) for p in saved]
    assert {t.step for t in search.store.trials()} == {4}
    shutil.rmtree(tmp_path / "runs")
    again = Searched(tmp_path, pruner=NoPruner())
    worker = again.worker(str(again.populations.next()))
    assert worker.live == SIZE
    assert {t.step for t in again.coordinator.trials} == {0}
    trials = Searched(tmp_path, pruner=NoPruner()).run()
    assert all(t.step == EPOCHS for t in trials if t.state is TrialState.COMPLETE)


def test_left_over_snapshots_are_deleted(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    left_over = tmp_path / "runs" / "p0" / "cut-short"
    left_over.mkdir(parents=True)
    search.worker(str(search.populations.next()))
    assert not left_over.exists()
    search.commits.close()


def test_nothing_is_proposed_once_time_is_up(tmp_path: Path) -> None:
    search = Searched(tmp_path, deadline=0.0)
    assert search.populations.next() is None
    assert search.coordinator.trials == []
    search.commits.close()


def test_nothing_is_answered_once_closed(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    worker = search.worker(str(search.populations.next()))
    search.populations.close()
    with pytest.raises(SearchOver):
        worker.tick()
    search.commits.close()


def test_a_trial_whose_record_was_damaged_finds_a_population(tmp_path: Path) -> None:
    search = Searched(tmp_path)
    trials = search.run()
    left = [t for t in trials if t.number not in (5, 9)]
    commits = GroupCommit(lambda batch: None)
    coordinator = Coordinator(STUDY, left, TPE(startup_trials=5), PRUNER, commits)
    populations = Populations(coordinator, SIZE, EPOCHS)
    assert [coordinator.trials[n].population for n in (5, 9)] == ["p5+", "p9"]
    assert {populations.next(), populations.next()} == {"p5+", "p9"}
    assert populations.next() is None
    commits.close()
