from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from metatune import Float, SearchSpace, Study, Task, Trial
from metatune.optimizers.optimizer import in_sequence
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration import scheduler as scheduler_module
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.running import Resources, _FolderNames
from metatune.orchestration.scheduler import StudyScheduler
from metatune.orchestration.search import search
from metatune.orchestration.snapshots import Snapshots
from metatune.parameters import Value
from metatune.trial import Suggestion, TrialState

SPACE = SearchSpace({"x": Float(0, 1)})
STUDY = Study("study", Task("toy"), SPACE, trials=10)


class LooksBack:
    """An optimizer that is not known to be blind to what trials have shown."""

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] | None = None,
    ) -> list[Suggestion]:
        return RandomSearch().suggest(study, trials, count, seed)


class Waiting:
    """What the scheduler looks at of one of Ray's trials."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.status = TuneTrial.PENDING


class Short(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self._x = config["x"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._x = new_config["x"]
        return True

    def step(self) -> dict[str, Any]:
        return {"loss": self._x, "process": os.getpid(), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None: ...
    def load_checkpoint(self, checkpoint: str) -> None: ...


class Processes(tune.Callback):
    def __init__(self) -> None:
        self.seen: set[int] = set()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.seen.add(result["process"])


@pytest.mark.parametrize("blind", [True, False])
def test_only_who_looks_at_results_waits_for_the_store(blind: bool) -> None:
    gate = threading.Event()

    def append(trials: Sequence[Trial]) -> None:
        gate.wait(30)

    with GroupCommit(append) as commits:
        optimizer = RandomSearch() if blind else LooksBack()
        coordinator = Coordinator(STUDY, [], optimizer, NoPruner(), commits)
        coordinator.ask()
        coordinator.report(0, 1, {"loss": 0.5}, 1.0)
        coordinator.finish(0)
        asking = threading.Thread(target=coordinator.ask)
        asking.start()
        asking.join(10 if blind else 0.2)
        assert asking.is_alive() is not blind
        gate.set()
        asking.join()
        assert len(coordinator.trials) == 2


def test_what_is_lost_with_the_driver_is_never_what_was_proposed_from() -> None:
    """What is durable is a beginning of what happened, also where nobody waits for the store."""
    batches: list[list[tuple[int, TrialState]]] = []
    happened: list[tuple[int, TrialState]] = []
    with GroupCommit(
        lambda batch: batches.append([(t.number, t.state) for t in batch]), interval=0.001
    ) as commits:
        coordinator = Coordinator(STUDY, [], RandomSearch(), NoPruner(), commits)
        for number in range(STUDY.trials):
            coordinator.ask()
            happened.append((number, TrialState.RUNNING))
            coordinator.report(number, 1, {"loss": 0.5}, 1.0)
            coordinator.finish(number)
            happened.append((number, TrialState.COMPLETE))
    known = dict[int, TrialState]()
    for batch in batches:
        known |= dict(batch)
        upto = max(happened.index(event) for event in known.items())
        assert known == dict(happened[: upto + 1])


def test_commits_keep_their_distance_unless_they_are_waited_for() -> None:
    batches: list[list[int]] = []
    written = threading.Event()

    def append(trials: Sequence[Trial]) -> None:
        batches.append([trial.number for trial in trials])
        written.set()

    def ended(number: int) -> Trial:
        return Trial("s", number, Suggestion({"x": 1}, "random"), 0, TrialState.COMPLETE)

    with GroupCommit(append, interval=60) as commits:
        commits.record(ended(0))
        assert written.wait(10)
        written.clear()
        commits.record(ended(1))
        commits.record(ended(2))
        assert not written.wait(0.2)
        commits.flush()
        assert batches == [[0], [1, 2]]


def test_a_free_process_is_for_the_newest_trial_but_for_one_that_waited_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with GroupCommit(lambda batch: None) as commits:
        coordinator = Coordinator(STUDY, [], RandomSearch(), NoPruner(), commits)
        for _ in range(3):
            coordinator.ask()
        running = {"a": 0, "b": 1, "c": 2}
        scheduler: Any = StudyScheduler(
            coordinator, running, Snapshots(fs.LocalFileSystem(), "runs")
        )
        a, b, c = (Waiting(name) for name in running)
        for trial in (a, b, c):
            scheduler.on_trial_add(None, trial)
        assert scheduler.choose_trial_to_run(None) is c
        c.status = TuneTrial.RUNNING
        assert scheduler.choose_trial_to_run(None) is b
        c.status = TuneTrial.PENDING  # its process was lost
        scheduler.on_trial_add(None, c)
        assert scheduler.choose_trial_to_run(None) is c
        monkeypatch.setattr(scheduler_module, "_START_SECONDS", -1.0)
        assert scheduler.choose_trial_to_run(None) is a
        for trial in (a, b, c):
            trial.status = TuneTrial.TERMINATED
        assert scheduler.choose_trial_to_run(None) is None


def test_a_sequence_of_proposals_does_not_change_what_it_was_given() -> None:
    known: list[Trial] = []
    lengths: list[int] = []

    def propose(trials: Sequence[Trial], seed: int) -> Suggestion:
        lengths.append(len(trials))
        return Suggestion({"x": 0.5}, "test")

    in_sequence(propose, STUDY, known, 3, 0)
    assert lengths == [0, 1, 2]
    assert known == []


def test_what_ray_pickles_with_every_trial_does_not_grow_with_their_number() -> None:
    names = _FolderNames({str(number): number for number in range(1000)})
    assert len(pickle.dumps(names)) < 200
    assert copy.deepcopy(names) is names


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_short_trials_get_all_the_processes_there_are_to_be(tmp_path: Path) -> None:
    processes = Processes()
    share = (os.cpu_count() or 1) / 3
    found = search(
        SPACE, "toy", Short, trials=1500, store=tmp_path, optimizer=RandomSearch(),
        resources=Resources(cpus=share, concurrency=3), callbacks=[processes], display=False,
    )  # fmt: skip
    assert found.complete
    assert len(processes.seen) == 3
