"""MetaSearch asked and told as Ray does, without its processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle, tune
from ray.tune.schedulers import HyperBandScheduler
from tune_programs import loss

from metatune import (
    ExperienceRecorder,
    ExperienceStore,
    Float,
    MetaScheduler,
    MetaSearch,
    SearchSpace,
    Task,
)
from metatune.errors import ExperienceWarning, InputError, StudyError, StudyLockedError
from metatune.trial import TrialState

SPACE = {"x": tune.uniform(0, 1), "n": tune.qrandint(0, 100, 25), "kept": "as it is"}


def begin(search: MetaSearch, samples: int = 100, space: Mapping[str, Any] = SPACE) -> MetaSearch:
    assert search.set_search_properties("loss", "min", dict(space), num_samples=samples, stop={})
    return search


def result(value: float, step: int, **more: Any) -> dict[str, Any]:
    return {"loss": value, "training_iteration": step, "time_total_s": float(step), **more}


def train(search: MetaSearch, trial: str, steps: int = 2) -> dict[str, Any]:
    """A trial of a function that returns after its last report."""
    config = search.suggest(trial)
    for step in range(1, steps + 1):
        search.on_trial_result(trial, result(loss(config["x"], step), step))
    last = result(loss(config["x"], steps), steps, done=True)
    search.on_trial_complete(trial_id=trial, result=last, error=False)
    return config


def searched(store: Path, count: int, **options: Any) -> list[dict[str, Any]]:
    search = begin(MetaSearch("toy", store, **options), count)
    return [train(search, f"{number}") for number in range(count)]


def test_proposals_depend_on_seed_and_experience_alone(tmp_path: Path) -> None:
    first = searched(tmp_path / "a", 13)
    assert searched(tmp_path / "b", 13) == first
    assert searched(tmp_path / "c", 13, seed=1) != first
    later = searched(tmp_path / "a", 3)
    assert searched(tmp_path / "b", 3) == later
    assert searched(tmp_path / "c", 3, memory=False) == first[:3]
    good = sorted(first, key=lambda config: loss(config["x"], 2))[:3]
    assert later[0] in good, "one of the best known is tried first"


def test_a_named_study_goes_on(tmp_path: Path) -> None:
    searched(tmp_path / "a", 5, study="mine")
    searched(tmp_path / "a", 8, study="mine")
    searched(tmp_path / "b", 13, study="mine")
    kept = [ExperienceStore(tmp_path / name).trials("mine") for name in "ab"]
    assert [t.config for t in kept[0]] == [t.config for t in kept[1]]
    assert [t.number for t in kept[0]] == list(range(13))
    assert ExperienceStore(tmp_path / "a").study("mine").trials == 13
    with pytest.raises(StudyError, match="was started with seed = 0, not 1"):
        searched(tmp_path / "a", 1, study="mine", seed=1)


def test_running_trials_are_not_proposed_again(tmp_path: Path) -> None:
    space = {"c": tune.choice(list(range(6)))}
    search = begin(MetaSearch("toy", tmp_path), space=space)
    assert len({search.suggest(str(number))["c"] for number in range(6)}) == 6


def test_a_trial_that_was_cut_off_is_run_again_first(tmp_path: Path) -> None:
    search = begin(MetaSearch("toy", tmp_path, study="mine"))
    done, cut_off = train(search, "1"), search.suggest("2")
    search.on_trial_result("2", result(1.0, 1))
    again = begin(MetaSearch("toy", tmp_path, study="mine"))
    assert train(again, "3") == cut_off != done
    states = [(t.state, t.step) for t in ExperienceStore(tmp_path).trials()]
    assert states == [(TrialState.COMPLETE, 2)] * 2
    with pytest.raises(StudyLockedError, match="by another search of this process"):
        search.on_trial_complete("2", result(1.0, 2, done=True))


def test_what_is_saved_is_json_and_a_pickled_search_goes_on_from_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    search = begin(MetaSearch("toy", tmp_path / "a"), 5)
    copy = cloudpickle.dumps(search)
    assert b"Coordinator" not in copy
    train(search, "1"), search.suggest("2"), search.suggest("3")
    search.on_trial_result("2", result(0.5, 1))
    search.save(str(path))
    assert json.loads(path.read_text())["trials"] == {"2": 1, "3": 2}
    proposed = search.suggest("4")  # after the snapshot: Ray does not know of it
    restored = cloudpickle.loads(copy)
    restored.restore(str(path))
    assert restored.suggest("5") == proposed
    restored.on_trial_complete("2", result(0.4, 2, done=True))
    restored.on_trial_complete("3", None, error=True)
    with pytest.warns(ExperienceWarning, match="Ray's trial other was not proposed"):
        restored.on_trial_result("other", result(0.4, 2))
    trials = ExperienceStore(tmp_path / "a").trials()
    assert [(t.state, [r.value for r in t.curve]) for t in trials[1:]] == [
        (TrialState.UNKNOWN, [0.5, 0.4]),
        (TrialState.FAILED, []),
        (TrialState.RUNNING, []),
    ]


def test_wrong_settings_are_refused_in_one_line(tmp_path: Path) -> None:
    space = SearchSpace({"x": Float(0, 1)})
    recorder: Any = ExperienceRecorder

    def make(task: Any = "toy", **options: Any) -> MetaSearch:
        return MetaSearch(task, tmp_path, **options)

    maximized = Task("toy", direction="maximize")
    for act, said in (
        (lambda: begin(make(metric="acc")), "metric = 'acc', but TuneConfig says 'loss'"),
        (lambda: begin(make(maximized)), "mode = 'min' is not to maximize"),
        (lambda: begin(make(space=space)), "['x', 'n'] are domains of Ray's"),
        (lambda: begin(make(), space={"x": tune.grid_search([1])}), "use tune.choice"),
        (lambda: begin(make(), space={"x": tune.sample_from(lambda: 1)}), "sampled by a function"),
        (lambda: make(seed=-1), "seed = -1"),
        (lambda: make(study=" "), "study = ' '"),
        (lambda: make(metric="m", mode="up"), "mode = 'up'"),
        (lambda: make().suggest("1"), "nothing to search"),
        (lambda: make(space=space).suggest("1"), "metric = None and mode = None"),
        (lambda: MetaScheduler("asha"), "inner = 'asha'"),
        (lambda: MetaScheduler(max_steps=0), "max_steps = 0"),
        (lambda: recorder("toy", tmp_path, space=SPACE), "metric = None"),
        (lambda: recorder(Task("toy"), tmp_path, space={"x": 1}), "nothing to search"),
    ):
        with pytest.raises(InputError) as caught:
            act()
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert ExperienceStore(tmp_path).studies() == []


def test_halving_needs_records_to_go_by() -> None:
    class Trial:
        trial_id = "nobody's"

    with pytest.raises(InputError, match="add one of them to the Tuner"):
        MetaScheduler(max_steps=3).on_trial_result(None, Trial(), result(1.0, 1))


def test_a_scheduler_is_seen_through() -> None:
    inner = HyperBandScheduler(metric="loss", mode="min")
    outer = cloudpickle.loads(cloudpickle.dumps(MetaScheduler(inner)))
    assert outer.metric == "loss"
    assert outer.supports_buffered_results is False
    assert outer.debug_string() == inner.debug_string()
    assert outer._s_max_1 == inner._s_max_1
    assert outer.set_search_properties("other", "max") is False
