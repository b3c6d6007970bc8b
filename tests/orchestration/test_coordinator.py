from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune import Float, SearchSpace, Study, Task, Trial
from metatune.optimizers.pruning import NoPruner, Pruner, SuccessiveHalving
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.parameters import Value
from metatune.trial import Suggestion, TrialState, derive_seed

SPACE = SearchSpace({"x": Float(0, 1)})
NO_PRUNER = NoPruner()
STUDY = Study("study", Task("toy", metric="score", direction="maximize"), SPACE, seed=3, trials=6)


class Greedy:
    """Proposes from everything it sees, so that whatever is lost or reordered shows."""

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] | None = None,
    ) -> list[Suggestion]:
        seen = [len(trials)]
        for trial in trials:
            seen += [int(1e6 * (trial.value or 0)) % 997, list(TrialState).index(trial.state)]
            seen += [trial.step, int(1e6 * score(trial, 1)) % 997]
        rng = np.random.default_rng([derive_seed(seed, len(trials)), *map(abs, seen)])
        return [Suggestion(study.space.sample(rng), "greedy")]


class Store:
    """Holds what was appended, as a store would: the highest revision of each trial."""

    def __init__(self) -> None:
        self.rows: list[Trial] = []

    def append(self, trials: Sequence[Trial]) -> None:
        self.rows += trials

    def trials(self) -> list[Trial]:
        latest: dict[int, Trial] = {}
        for row in self.rows:
            if row.number not in latest or row.revision > latest[row.number].revision:
                latest[row.number] = row
        return list(latest.values())


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def commits(store: Store) -> Iterator[GroupCommit]:
    with GroupCommit(store.append) as commits:
        yield commits


def opened(
    commits: GroupCommit,
    trials: Sequence[Trial] = (),
    pruner: Pruner = NO_PRUNER,
    study: Study = STUDY,
    **kwargs: Any,
) -> Coordinator:
    return Coordinator(study, trials, Greedy(), pruner, commits, **kwargs)


def train(coordinator: Coordinator, trial: Trial, upto: int = 9, checkpoint: int = 0) -> None:
    """Report a curve that depends on configuration and step alone."""
    for step in range(trial.step + 1, upto + 1):
        if coordinator.report(trial.number, step, {"score": score(trial, step)}, float(step)):
            return
        if step == checkpoint:
            coordinator.checkpoint(trial.number, f"/saved/{trial.number}")
    if upto == 9:
        coordinator.finish(trial.number)


def score(trial: Trial, step: int) -> float:
    x = trial.config["x"]
    assert isinstance(x, float)
    return x * (1 - 1 / (step + 1))


def run_to_end(coordinator: Coordinator) -> list[Trial]:
    while (trial := coordinator.ask()) is not None:
        train(coordinator, trial)
    return coordinator.trials


def test_a_search_spends_its_budget_and_flips_the_direction_inside(
    commits: GroupCommit, store: Store
) -> None:
    coordinator = opened(commits)
    assert not coordinator.is_complete()
    trials = run_to_end(coordinator)
    assert coordinator.is_complete()
    assert coordinator.ask() is None
    assert [t.number for t in trials] == [0, 1, 2, 3, 4, 5]
    assert [t.finished_index for t in trials] == [0, 1, 2, 3, 4, 5]
    assert all(t.value == score(t, 9) and t.cost == 9 for t in trials)
    commits.flush()
    assert store.trials() == trials


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=4))
def test_a_search_that_is_killed_goes_on_as_if_nothing_had_happened(
    kills: list[tuple[int, int]],
) -> None:
    pruner = SuccessiveHalving(min_step=1, reduction=2)
    with GroupCommit(Store().append) as commits:
        undisturbed = run_to_end(opened(commits, pruner=pruner))
    store = Store()
    for upto, checkpoint in [*kills, (9, 0)]:
        with GroupCommit(store.append) as commits:
            coordinator = opened(commits, store.trials(), pruner)
            if upto == 9:
                run_to_end(coordinator)
            elif (trial := coordinator.ask()) is not None:
                train(coordinator, trial, upto, checkpoint)
                if upto % 2 and (trial := coordinator.ask()) is not None:
                    train(coordinator, trial, upto // 2)
    ended = sorted(store.trials(), key=lambda trial: trial.number)
    if all(upto % 2 == 0 for upto, _ in kills):  # one slot: the very same trajectory
        assert [_outcome(t) for t in ended] == [_outcome(t) for t in undisturbed]
    assert len(ended) == 6
    assert all(t.state.finished for t in ended)
    assert sorted(t.finished_index or 0 for t in ended) == [0, 1, 2, 3, 4, 5]


def _outcome(trial: Trial) -> tuple[object, ...]:
    return trial.config, trial.seed, trial.state, trial.curve, trial.value


def test_a_running_trial_is_cut_back_to_its_checkpoint(commits: GroupCommit, store: Store) -> None:
    first = opened(commits)
    trial = first.ask()
    assert trial is not None
    train(first, trial, upto=8, checkpoint=5)
    commits.flush()
    again = opened(commits, store.trials()).ask()
    assert again is not None
    assert again.step == 5
    assert again.cost == 5.0
    assert again.checkpoint is not None
    assert again.checkpoint.path == "/saved/0"
    assert (again.number, again.config, again.seed) == (trial.number, trial.config, trial.seed)


def test_a_larger_budget_extends_a_finished_search(commits: GroupCommit, store: Store) -> None:
    short = replace(STUDY, trials=2)
    run_to_end(opened(commits, study=short))
    commits.flush()
    longer = run_to_end(opened(commits, store.trials()))
    assert [_outcome(t) for t in longer] == [_outcome(t) for t in run_to_end(opened(commits))]


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"loss": 1.0}, "step 1 reported no 'score', only ['loss']"),
        ({"score": math.nan}, "step 1 reported score = nan"),
        ({"score": math.inf}, "score = inf"),
        ({"score": "high"}, "score = 'high'"),
        ({"score": None}, "score = None"),
        ({"score": np.array([0.1, 0.2])}, "score = array"),
        ({"score": 1.0, "training_iteration": 0.5}, "training_iteration = 0.5"),
        ({"score": 1.0, "training_iteration": -1}, "training_iteration = -1"),
    ],
)
def test_a_bad_report_fails_the_trial_alone(
    commits: GroupCommit, metrics: dict[str, object], said: str
) -> None:
    coordinator = opened(commits)
    trial = coordinator.ask()
    assert trial is not None
    step: Any = metrics.get("training_iteration", 1)  # as Ray takes it out of the result
    assert coordinator.report(trial.number, step, metrics, 1.0)
    failed = coordinator.trials[0]
    assert failed.state is TrialState.FAILED
    assert failed.value is None
    assert failed.error is not None
    assert said in failed.error
    assert coordinator.report(trial.number, 2, {"score": 1.0}, 2.0), "it stays failed"
    run_to_end(coordinator)
    assert sum(t.state is TrialState.COMPLETE for t in coordinator.trials) == 5


@pytest.mark.parametrize("value", [1, np.float32(1), np.int64(1), torch.tensor(1.0), True])
def test_a_report_may_be_any_kind_of_number(commits: GroupCommit, value: object) -> None:
    coordinator = opened(commits)
    assert coordinator.ask() is not None
    assert not coordinator.report(0, 1, {"score": value}, 1.0)
    assert coordinator.trials[0].curve[0].value == 1.0


def test_a_trial_that_reports_nothing_fails(commits: GroupCommit) -> None:
    coordinator = opened(commits)
    assert coordinator.ask() is not None
    coordinator.finish(0)
    assert coordinator.trials[0].error == "ended without reporting 'score'"


def test_old_news_is_ignored(commits: GroupCommit) -> None:
    coordinator = opened(commits)
    assert coordinator.ask() is not None
    assert not coordinator.report(0, 2, {"score": 0.5}, 1.0)
    assert not coordinator.report(0, 2, {"score": 0.9}, 1.0)
    assert not coordinator.report(0, 1, {"score": 0.9}, 1.0)
    assert [r.value for r in coordinator.trials[0].curve] == [0.5]
    coordinator.rewind(0)
    assert coordinator.trials[0].curve == ()


def test_steps_may_count_from_0(commits: GroupCommit) -> None:
    coordinator = opened(commits)
    assert coordinator.ask() is not None
    for step in (0, 0, 1):
        assert not coordinator.report(0, step, {"score": 0.5}, 1.0)
    assert [r.step for r in coordinator.trials[0].curve] == [0, 1]
    coordinator.rewind(0)
    assert coordinator.trials[0].curve == ()


def test_a_trial_that_was_not_started_is_handed_out_again(commits: GroupCommit) -> None:
    coordinator = opened(commits)
    first = coordinator.ask()
    coordinator.hand_out_again(0)
    assert coordinator.ask() == first
    coordinator.fail(0, "no luck")
    coordinator.hand_out_again(0)
    second = coordinator.ask()
    assert second is not None
    assert second.number == 1, "it has ended"


def test_the_last_checkpoint_and_the_end_are_one_record(store: Store) -> None:
    """A trial that was killed between the two would be resumed beyond its end."""
    with GroupCommit(store.append) as commits:
        coordinator = Coordinator(STUDY, [], Greedy(), NO_PRUNER, commits)
        coordinator.ask()
        for step in (1, 2):
            coordinator.report(0, step, {"score": 0.5}, float(step))
            if step == 2:
                coordinator.note_done(0)
            coordinator.checkpoint(0, f"folder/{step}")
        coordinator.finish(0)
    last = [row for row in store.rows if row.checkpoint and row.checkpoint.step == 2]
    assert [(row.state, row.step, row.value) for row in last] == [(TrialState.COMPLETE, 2, 0.5)]


def test_a_record_that_was_damaged_is_proposed_anew(commits: GroupCommit, store: Store) -> None:
    trials = run_to_end(opened(commits))
    left = [t for t in trials if t.number not in (2, 5)]
    again = opened(commits, left)
    assert again.trials[2].config == trials[2].config
    ended = run_to_end(again)
    assert [_outcome(t) for t in ended] == [_outcome(t) for t in trials]
    assert len({t.finished_index for t in ended}) == 6


def test_nothing_is_proposed_from_that_could_still_be_lost(store: Store) -> None:
    class Wary(Greedy):
        def suggest(self, study: Study, trials: Sequence[Trial], *rest: Any) -> list[Suggestion]:
            kept = {t.number: t for t in store.trials()}
            assert all(kept[t.number].state.finished for t in trials if t.state.finished)
            return super().suggest(study, trials, *rest)

    def slowly(trials: Sequence[Trial]) -> None:
        time.sleep(0.02)
        store.append(trials)

    with GroupCommit(slowly) as commits:
        run_to_end(Coordinator(STUDY, [], Wary(), NO_PRUNER, commits))
    assert len(store.trials()) == 6


def test_the_pruner_sees_lower_as_better(commits: GroupCommit) -> None:
    coordinator = opened(commits, pruner=SuccessiveHalving(min_step=1, reduction=2))
    for value in (0.5, 0.1, 0.9):
        trial = coordinator.ask()
        assert trial is not None
        stopped = coordinator.report(trial.number, 1, {"score": value}, 1.0)
        assert stopped == (value == 0.1), "the score is maximised"


def test_nothing_is_asked_beyond_the_deadline(commits: GroupCommit) -> None:
    coordinator = opened(commits, deadline=0.0)
    assert coordinator.spent() == "time budget"
    assert coordinator.ask() is None
    assert not coordinator.is_complete()


def test_a_trial_is_shown_as_ended_only_once_that_is_durable() -> None:
    store = Store()
    commits = GroupCommit(store.append, interval=60)
    coordinator = opened(commits)
    assert coordinator.ask() is not None
    commits.flush()
    blocked = replace(coordinator.trials[0], state=TrialState.COMPLETE, revision=7)
    coordinator.trials[0] = blocked
    assert coordinator.shown()[0].state is TrialState.RUNNING
    commits.record(blocked)
    commits.flush()
    assert coordinator.shown()[0].state is TrialState.COMPLETE
    commits.close()
