"""Studies as Optuna's: every trial, curve and state, in memory and from a journal file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState as OptunaState
from small_studies import told

from metatune import Categorical, Float, Integer, SearchSpace, Study, Task, Trial
from metatune.errors import InputError, StudyError
from metatune.export.optuna_journal import as_optuna_study, check_replaceable, to_text
from metatune.trial import Report, Suggestion, TrialState

EVERY = list(TrialState)


def opened(path: Path, study: Study) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=study.name, storage=storage)


@given(st.lists(st.sampled_from(EVERY), max_size=8))
def test_every_trial_curve_and_state_is_there(states: list[TrialState]) -> None:
    study, trials = told(states)
    made = as_optuna_study(study, trials)
    assert made.study_name == study.name
    assert made.direction is optuna.study.StudyDirection.MAXIMIZE
    assert made.metric_names == ["accuracy"]
    assert [t.number for t in made.trials] == [t.number for t in trials]
    for ours, theirs in zip(trials, made.trials, strict=True):
        assert theirs.user_attrs["state"] == ours.state
        assert theirs.state.name in (ours.state.name, {"FAILED": "FAIL"}.get(ours.state, "PRUNED"))
        assert theirs.params.keys() == ours.config.keys()
        assert theirs.params["rate"] == ours.config["rate"]
        assert theirs.params["mixed"] == repr(ours.config["mixed"])
        assert theirs.intermediate_values == pytest.approx(
            {r.step: r.value for r in ours.curve}, nan_ok=True
        )
        if theirs.state in (OptunaState.COMPLETE, OptunaState.PRUNED):
            assert theirs.value == ours.value
        if theirs.state.is_finished():
            assert theirs.duration is not None
            assert theirs.duration.total_seconds() == ours.cost


def test_a_trial_says_where_it_came_from() -> None:
    study, trials = told([TrialState.FAILED, TrialState.UNKNOWN])
    failed, unknown = as_optuna_study(study, trials).trials
    assert failed.user_attrs["error"] == "ValueError: no"
    assert failed.user_attrs["value"] == 0.5
    assert failed.value is None
    assert failed.user_attrs["past_tasks"] == {"past": 0.75}
    assert failed.user_attrs["predicted"] == 0.6, "in the metric's own sense"
    assert failed.user_attrs["seconds"] == 2.0
    assert unknown.state is OptunaState.PRUNED
    assert unknown.user_attrs["state"] == "UNKNOWN"


def test_trials_follow_one_another_in_the_order_in_which_they_ended() -> None:
    space = SearchSpace({"x": Float(0, 1)})
    trials = [
        Trial(
            "s", n, Suggestion({"x": 0.5}, "random"), 0, TrialState.COMPLETE, value=1.0,
            finished_index=index, cost=1.5,
        )
        for n, index in enumerate([2, 0, 1])
    ]  # fmt: skip
    made = as_optuna_study(Study("s", Task("t"), space), trials)
    times = [(t.datetime_start, t.datetime_complete) for t in made.trials]
    assert times[1][1] == times[2][0]
    assert times[2][1] == times[0][0]


def test_a_journal_file_opens_as_the_same_study(tmp_path: Path) -> None:
    study, trials = told(EVERY * 3)
    text = to_text(study, trials)
    assert text == to_text(study, list(reversed(trials))), "the same bytes each time"
    path = tmp_path / "journal.log"
    path.write_text(text)
    here, there = as_optuna_study(study, trials), opened(path, study)
    assert there.user_attrs == here.user_attrs
    assert there.best_trial.number == here.best_trial.number
    for one, other in zip(here.trials, there.trials, strict=True):
        for key in ("state", "params", "distributions", "user_attrs", "duration", "number"):
            assert getattr(one, key) == getattr(other, key)
        assert json.dumps(one.intermediate_values) == json.dumps(other.intermediate_values)
    there.set_user_attr("more", 1)
    with pytest.raises(InputError, match="Optuna added to"):
        check_replaceable(path)


def test_only_a_journal_of_ours_is_replaced(tmp_path: Path) -> None:
    study, trials = told(EVERY)
    mine, theirs = tmp_path / "mine.log", tmp_path / "theirs.log"
    check_replaceable(mine)
    mine.write_text(to_text(study, trials))
    check_replaceable(mine)
    optuna.create_study(storage=JournalStorage(JournalFileBackend(str(theirs))))
    theirs_too = tmp_path / "bytes.log"
    theirs_too.write_bytes(b"\xff\xfe")
    for path in (theirs, theirs_too):
        with pytest.raises(InputError, match=path.name):
            check_replaceable(path)


def test_a_storage_with_a_study_of_that_name_is_refused() -> None:
    study, trials = told(EVERY)
    storage = optuna.storages.InMemoryStorage()
    as_optuna_study(study, trials, storage)
    with pytest.raises(StudyError, match="'shop-0' already"):
        as_optuna_study(study, trials, storage)


def test_what_optuna_cannot_hold_stands_in_attributes() -> None:
    space = SearchSpace({"n": Integer(1, 10**12, log=True), "c": Categorical(("a", None))})
    trials = [
        Trial("s", 0, Suggestion({"n": 10**12, "c": None}, "r"), 0, TrialState.COMPLETE, value=1.0),
        Trial("s", 1, Suggestion({"n": 0, "old": 2}, "r"), 0, TrialState.COMPLETE, value=math.nan),
        Trial("s", 2, Suggestion({"n": 3}, "r"), 0, TrialState.PRUNED, (Report(4, math.nan, 1.0),)),
    ]
    whole, outside, lost = as_optuna_study(Study("s", Task("t"), space), trials).trials
    assert whole.params == {"n": 10**12, "c": None}
    assert outside.state is OptunaState.FAIL
    assert outside.user_attrs["outside"] == {"n": 0, "old": 2}
    assert lost.value is None
    assert math.isnan(lost.intermediate_values[4])
