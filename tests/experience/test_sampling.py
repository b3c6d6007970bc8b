"""A sample of past tasks is what would be kept of all that is read."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SPACE, TASK, make_study, make_trial

from metatune.errors import ExperienceWarning
from metatune.experience import sampling
from metatune.experience.past import PastTask, thinned
from metatune.experience.store import ExperienceStore
from metatune.task import Task
from metatune.trial import Trial, TrialState

VALUES = st.none() | st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, -math.inf]) | st.floats()
ENDS = st.tuples(st.sampled_from(TrialState), VALUES)
STUDIES = {
    "b": TASK,
    "a": TASK,
    "c": Task("digits", metric="loss", data_hash="d1"),
    "d": Task("wine"),
}


def outcome(trial: Trial) -> float:
    value = trial.value
    failed = trial.state is TrialState.FAILED or value is None or not math.isfinite(value)
    return math.inf if failed or value is None else value


def kept_of(past: PastTask, most: int) -> tuple[list[tuple[str, int]], float | None]:
    """What should be kept of a past task that was read whole, and its median."""
    ranked = sorted(past.trials, key=outcome)
    kept = [ranked[index] for index in thinned(len(ranked), most)]
    finite = [outcome(trial) for trial in ranked if math.isfinite(outcome(trial))]
    median = statistics.median(finite) if finite and len(ranked) > most else None
    return sorted((trial.study, trial.number) for trial in kept), median


def filled(store: ExperienceStore, ends: list[list[tuple[TrialState, float | None]]]) -> None:
    for (name, task), of_study in zip(STUDIES.items(), ends, strict=True):
        store.put_study(make_study(name, task))
        trials = []
        for number, (state, value) in enumerate(of_study):
            index = number if state.finished else None
            trials.append(make_trial(number, name, state=state, value=value, finished_index=index))
        for part in (trials[::2], trials[1::2]):
            if part:
                store.append(part)


@pytest.mark.parametrize("at_once", [True, False])
@given(
    ends=st.lists(st.lists(ENDS, max_size=12), min_size=4, max_size=4),
    most=st.integers(2, 8),
    limits=st.none() | st.dictionaries(st.sampled_from([*STUDIES, "gone"]), st.integers(1, 9)),
)
@settings(max_examples=25, deadline=None)
def test_a_sample_is_what_would_be_kept_of_everything(
    tmp_path_factory: pytest.TempPathFactory,
    at_once: bool,
    ends: list[list[tuple[TrialState, float | None]]],
    most: int,
    limits: dict[str, int] | None,
) -> None:
    store = ExperienceStore(tmp_path_factory.mktemp("store"))
    filled(store, ends)
    with pytest.MonkeyPatch.context() as patch:
        if not at_once:
            patch.setattr(sampling, "_AT_ONCE_BYTES", 0)
        sampled = store.past_tasks(SPACE, limits, without=["d"], most=most)
    whole = store.past_tasks(SPACE, limits, without=["d"])
    assert [(past.task, past.space) for past in sampled] == [(p.task, p.space) for p in whole]
    for some, everything in zip(sampled, whole, strict=True):
        expected, median = kept_of(everything, most)
        assert [(trial.study, trial.number) for trial in some.trials] == expected
        assert some.median == pytest.approx(median)
        by_id = {trial.id: trial for trial in everything.trials}
        for trial in some.trials:
            twin = by_id[trial.id]
            assert (trial.config, trial.state, trial.cost) == (twin.config, twin.state, twin.cost)
            assert repr(trial.value) == repr(twin.value)
            assert trial.curve == ()


def test_it_is_the_same_on_s3_and_after_compaction(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExperienceStore(uri)
    ends: Any = [[(TrialState.COMPLETE, float(n % 7)) for n in range(20)] for _ in STUDIES]
    filled(store, ends)
    before = store.past_tasks(most=6)
    assert [len(past.trials) for past in before] == [6, 6, 6]
    monkeypatch.setattr(sampling, "_AT_ONCE_BYTES", 0)
    assert store.past_tasks(most=6) == before
    store.compact(grace_seconds=0)
    assert store.past_tasks(most=6) == before


def test_damage_is_told_once_for_all_folders(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    filled(store, [[(TrialState.COMPLETE, float(n)) for n in range(4)] for _ in STUDIES])
    files = sorted(tmp_path.rglob("*.parquet"))
    for path in files[:1] + files[-1:]:
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(ExperienceWarning, match=r"2 of 8 files left out") as caught:
        store.past_tasks(most=2)
    assert len(caught) == 1


def test_an_empty_store_has_nothing_to_sample(tmp_path: Path) -> None:
    assert ExperienceStore(tmp_path).past_tasks(SPACE, {}, most=3) == []


@given(count=st.integers(0, 300), most=st.integers(2, 50))
def test_thinned_keeps_the_first_half_the_last_and_no_more(count: int, most: int) -> None:
    kept = thinned(count, most)
    assert len(kept) == len(set(kept)) == min(count, most)
    assert kept == sorted(kept)
    assert kept[: most // 2] == list(range(min(count, most // 2)))
    assert not count or kept[-1] in ((count - 1, most - 1) if most > 1 else (0,))
    gaps = [b - a for a, b in zip(kept[most // 2 :], kept[most // 2 + 1 :], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1
