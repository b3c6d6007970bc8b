from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from metatune.errors import StoreError
from metatune.orchestration.group_commit import GroupCommit
from metatune.trial import Suggestion, Trial, TrialState


def trial(number: int, revision: int = 0, state: TrialState = TrialState.RUNNING) -> Trial:
    return Trial("s", number, Suggestion({"x": 1}, "random"), 0, state, revision=revision)


def test_what_is_flushed_is_durable_and_in_one_batch() -> None:
    batches: list[list[Trial]] = []
    with GroupCommit(lambda batch: batches.append(list(batch)), interval=60) as commits:
        for number in range(5):
            commits.record(trial(number))
        assert not commits.is_durable(trial(4))
        commits.flush()
        assert [t.number for t in batches[0]] == [0, 1, 2, 3, 4]
        assert commits.is_durable(trial(4))
        assert not commits.is_durable(trial(4, revision=1))


def test_only_the_last_revision_of_a_trial_that_waits_is_written() -> None:
    batches: list[list[Trial]] = []
    with GroupCommit(lambda batch: batches.append(list(batch)), interval=60) as commits:
        for revision in range(3):
            commits.record(trial(0, revision))
    assert [[t.revision for t in batch] for batch in batches] == [[2]]


def test_an_ended_trial_is_written_at_once_and_a_running_one_within_the_interval() -> None:
    with GroupCommit(lambda batch: None, interval=60) as commits:
        commits.record(trial(0, 1, TrialState.COMPLETE))
        _until(lambda: commits.is_durable(trial(0, 1)))
    with GroupCommit(lambda batch: None, interval=0.05) as commits:
        commits.record(trial(0))
        _until(lambda: commits.is_durable(trial(0)))


def test_what_comes_during_a_commit_waits_for_the_next() -> None:
    gate = threading.Event()
    batches: list[list[int]] = []

    def append(batch: Sequence[Trial]) -> None:
        if batches:
            time.sleep(0.1)
        batches.append([t.number for t in batch])
        gate.wait(10)

    with GroupCommit(append, interval=60) as commits:
        commits.record(trial(0, 1, TrialState.COMPLETE))
        _until(lambda: len(batches) == 1)
        commits.record(trial(1, 1, TrialState.COMPLETE))
        commits.record(trial(2, 1, TrialState.COMPLETE))
        threading.Timer(0.1, gate.set).start()
        commits.flush()
        assert batches == [[0], [1, 2]]
        assert commits.is_durable(trial(2, 1))


def test_a_failing_store_is_heard_by_everyone_who_records() -> None:
    def append(batch: Sequence[Trial]) -> None:
        raise StoreError("disk full")

    commits = GroupCommit(append)
    commits.record(trial(0))
    for act in (commits.flush, lambda: commits.record(trial(1)), commits.close):
        with pytest.raises(StoreError, match="disk full"):
            act()
    assert not commits.is_durable(trial(0))


def _until(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
