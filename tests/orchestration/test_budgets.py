"""Budgets of time and of training, and how often a trial that fails is tried again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune
from trainables import Class, unlucky

from metatune import Categorical, ExperienceStore, Float, SearchSpace, Study, Task, Trial, search
from metatune.errors import InputError
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.display import Display
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.reasons import failures, raised, reasons
from metatune.orchestration.resources import Resources
from metatune.trial import TrialState

SPACE = SearchSpace({"x": Float(0, 1)})
STUDY = Study("s", Task("toy"), SPACE, trials=8)
SLOW = SearchSpace({"x": Float(0, 1), "seconds": Categorical((0.1,))})
ONE = Resources(concurrency=1)


@pytest.fixture
def commits() -> Iterator[GroupCommit]:
    with GroupCommit(lambda trials: None) as made:
        yield made


def opened(commits: GroupCommit, known: list[Trial] = [], **budgets: Any) -> Coordinator:  # noqa: B006  # not changed
    return Coordinator(STUDY, known, RandomSearch(), NoPruner(), commits, **budgets)


def test_nothing_is_asked_once_all_trials_have_trained_for_so_long(commits: GroupCommit) -> None:
    coordinator = opened(commits, cost_budget=10.0)
    first, second = coordinator.ask(), coordinator.ask()
    assert first is not None
    assert second is not None
    coordinator.report(first.number, 1, {"loss": 1.0}, 4.0)
    coordinator.fail(first.number, "no luck")
    coordinator.report(second.number, 1, {"loss": 1.0}, 5.9)
    assert coordinator.spent() is None
    coordinator.report(second.number, 2, {"loss": 1.0}, 6.0)
    assert coordinator.spent() == "cost budget"
    assert coordinator.ask() is None
    assert "trained 10 of 10 s" in Display(coordinator).line()
    # What was not saved is trained again, and counts then.
    again = opened(commits, coordinator.trials, cost_budget=10.0)
    assert again.cost == 4.0
    resumed = again.ask()
    assert resumed is not None
    assert resumed.number == second.number


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(["report", "save", "rewind", "retry", "finish"])
        ),
        max_size=40,
    )
)
def test_the_cost_is_that_of_all_trials(events: list[tuple[int, str]]) -> None:
    with GroupCommit(lambda trials: None) as commits:
        coordinator = opened(commits)
        for _ in range(4):
            coordinator.ask()
        for number, event in events:
            step = coordinator.trials[number].step + 1
            if event == "report":
                coordinator.report(number, step, {"loss": 1.0}, 0.25 * step)
            elif event == "save":
                coordinator.checkpoint(number, f"/{step}")
            elif event == "retry":
                coordinator.retry(number, "no luck")
            else:
                getattr(coordinator, event)(number)
            assert coordinator.cost == sum(trial.cost for trial in coordinator.trials)
        assert opened(commits, coordinator.trials).cost <= coordinator.cost


@pytest.mark.usefixtures("cluster")
def test_a_cost_budget_stops_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 4, "store": tmp_path, "pruner": NoPruner()}
    options |= {"resources": ONE, "optimizer": RandomSearch(), "display": False}
    first = search(SLOW, "toy", Class, cost_budget=1.0, **options)
    assert first.stopped_by == "cost budget"
    assert not first.complete
    spent = sum(trial.cost for trial in first.trials)
    assert 1.0 <= spent < 1.0 + 2 * 0.1, "the first report beyond the budget ends it"
    assert [trial.state.finished for trial in first.trials] == [True, False]
    second = search(SLOW, "toy", Class, cost_budget=60.0, **options)
    assert second.complete
    assert second.stopped_by is None
    assert second.trials[0] == first.trials[0]
    assert search(SLOW, "toy", Class, time_budget=1e-9, study="t", **options).stopped_by == (
        "time budget"
    )


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_a_budget_of_nothing_is_refused(tmp_path: Path, wrong: float) -> None:
    with pytest.raises(InputError, match=f"cost budget = {wrong} must be above 0 seconds"):
        search(SPACE, "toy", Class, store=tmp_path, cost_budget=wrong, display=False)


def fails(folder: Path, times: int, **options: Any) -> Trial:
    """The one trial of a search that raises so many times, as it is in the store."""
    space = {"attempts": Categorical((str(folder / "attempts"),)), "times": Categorical((times,))}
    search(
        SearchSpace(space), "toy", unlucky, trials=1, store=folder / "store", pruner=NoPruner(),
        optimizer=RandomSearch(), resources=Resources(max_failures=2), display=False, **options,
    )  # fmt: skip
    (trial,) = ExperienceStore(folder / "store").trials()
    return trial


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_raises_is_tried_again_and_its_reasons_are_kept(tmp_path: Path) -> None:
    trial = fails(tmp_path, 2)
    assert trial.state is TrialState.COMPLETE
    assert [report.step for report in trial.curve] == [1, 2, 3, 4], "from its checkpoint"
    assert failures(trial) == ["ValueError: no luck at step 3"] * 2


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_raises_too_often_fails_whatever_becomes_of_the_driver(tmp_path: Path) -> None:
    class Interrupt(tune.Callback):
        def on_trial_start(self, **info: Any) -> None:
            if len(list(tmp_path.glob("attempts"))) and not self.is_done:
                self.is_done = True
                signal.raise_signal(signal.SIGINT)

        is_done = False

    before = fails(tmp_path, 99, callbacks=[Interrupt()])
    assert before.state is TrialState.RUNNING
    assert len(failures(before)) in (1, 2)
    trial = fails(tmp_path, 99)
    assert trial.state is TrialState.FAILED
    assert failures(trial) == ["ValueError: no luck at step 3"] * 2
    assert trial.error is not None
    assert reasons(trial) == ["ValueError: no luck at step 3"] * 3


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            "ray::f() (pid=1)\n  File 'a.py', line 3, in f\n    raise ValueError(\n    ^^^^^\n"
            "ValueError: no luck\n  in two lines",
            "ValueError: no luck in two lines",
        ),
        ("The actor died.\n\tclass_name: f", "The actor died."),
        ("ray::f()\n  File 'a', line 1, in f\nKeyError: " + 999 * "x", "KeyError: " + 490 * "x"),
    ],
)
def test_a_reason_is_one_line(error: str, line: str) -> None:
    assert raised(error) == line
