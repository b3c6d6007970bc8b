"""Searches on a real Ray with trainables of the user's."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from trainables import (
    Class,
    Nested,
    OneShot,
    Upwards,
    ZeroBased,
    function,
    loss,
    nested,
    troubled,
)

from metatune import (
    Categorical,
    ExperienceStore,
    Float,
    Integer,
    SearchSpace,
    Study,
    Task,
    Trial,
    search,
    suggest,
)
from metatune.errors import InputError, StudyError
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.pruning import NoPruner, SuccessiveHalving
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.problem import network_problem
from metatune.orchestration.running import Resources
from metatune.parameters import Value
from metatune.trial import Suggestion, TrialState

pytestmark = pytest.mark.usefixtures("cluster")
SPACE = SearchSpace({"x": Float(0, 1)})


@pytest.mark.parametrize("trainable", [function, Class])
def test_a_search_records_every_trial_with_its_curve(trainable: Any, tmp_path: Path) -> None:
    result = search(
        SPACE, "toy", trainable, trials=4, store=tmp_path, optimizer=RandomSearch(),
        pruner=NoPruner(), display=False,
    )  # fmt: skip
    kept = ExperienceStore(tmp_path).trials()
    assert result.complete
    assert kept == result.trials
    for trial in kept:
        x = trial.config["x"]
        assert isinstance(x, float)
        assert trial.state is TrialState.COMPLETE
        assert [r.value for r in trial.curve] == [loss(x, step) for step in range(1, 7)]
        assert trial.value == loss(x, 6)
        assert trial.cost > 0
    assert result.best is not None
    assert result.best.value == min(t.value or 0.0 for t in kept)


def test_the_same_call_continues_and_a_larger_budget_extends(tmp_path: Path) -> None:
    def run(trials: int, store: Path) -> list[Any]:
        result = search(
            SPACE, "toy", Class, trials=trials, store=store, optimizer=TPE(startup_trials=2),
            resources=Resources(concurrency=1), display=False,
        )  # fmt: skip
        return [(t.config, t.state, [r.value for r in t.curve]) for t in result.trials]

    three = run(3, tmp_path / "a")
    assert run(3, tmp_path / "a") == three
    assert run(8, tmp_path / "a") == run(8, tmp_path / "b")


def test_pruned_trials_are_recorded_as_such(tmp_path: Path) -> None:
    result = search(
        SPACE, "toy", Class, trials=12, store=tmp_path, optimizer=RandomSearch(),
        pruner=SuccessiveHalving(min_step=1, reduction=3), display=False,
    )  # fmt: skip
    pruned = [t for t in result.trials if t.state is TrialState.PRUNED]
    assert pruned
    assert all(t.step < 6 and t.value is not None for t in pruned)
    assert result.best is not None
    assert result.best.state is TrialState.COMPLETE


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_process_that_cannot_be_reset_is_replaced(tmp_path: Path, concurrency: int) -> None:
    result = search(
        SPACE, "toy", OneShot, trials=3, store=tmp_path, pruner=NoPruner(),
        resources=Resources(concurrency=concurrency), display=False,
    )  # fmt: skip
    assert result.complete
    assert [(t.number, t.state, t.step) for t in result.trials] == [
        (number, TrialState.COMPLETE, 6) for number in range(3)
    ]


def test_steps_may_count_from_0(tmp_path: Path) -> None:
    result = search(
        SPACE, "toy", ZeroBased, trials=1, store=tmp_path, pruner=NoPruner(), display=False
    )
    assert [r.step for r in result.trials[0].curve] == [0, 1, 2, 3, 4, 5]
    assert ExperienceStore(tmp_path).trials() == result.trials


class InTurn:
    """Proposes every choice of the one parameter in turn."""

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] | None = None,
    ) -> list[Suggestion]:
        choices = study.space.parameters["how"]
        assert isinstance(choices, Categorical)
        at = range(len(trials), len(trials) + count)
        return [Suggestion({"how": choices.choices[i]}, "in turn") for i in at]

    def __str__(self) -> str:
        return "in turn"


def test_a_trial_that_goes_wrong_fails_alone_with_its_reason(tmp_path: Path) -> None:
    reasons = {
        "raises": "ValueError: no luck",
        "nan": "loss = nan",
        "no metric": "no 'loss', only ['accuracy', 'eval/loss']",
        "silent": "ended without reporting 'loss'",
        "dies": "died",
        "well": "",
    }
    result = search(
        SearchSpace({"how": Categorical(tuple(reasons))}), "trouble", troubled, trials=6,
        store=tmp_path, optimizer=InTurn(), resources=Resources(concurrency=2), display=False,
    )  # fmt: skip
    assert result.complete
    assert result.best is not None
    assert result.best.config == {"how": "well"}
    for trial in ExperienceStore(tmp_path).trials():
        reason = reasons[str(trial.config["how"])]
        assert reason in (trial.error or ""), trial.config
        assert "\x1b" not in (trial.error or "")
        assert trial.state is (TrialState.FAILED if reason else TrialState.COMPLETE)


def test_a_maximised_metric_is_maximised(tmp_path: Path) -> None:
    task = Task("toy", metric="score", direction="maximize")
    result = search(
        SPACE, task, Upwards, trials=12, store=tmp_path,
        optimizer=TPE(startup_trials=4), display=False,
    )  # fmt: skip
    assert result.best is not None
    assert result.best.value == max(t.value or -1.0 for t in result.trials)
    second = search(
        SPACE, Task("toy2", "score", "maximize"), Upwards, trials=1, store=tmp_path,
        display=False,
    )  # fmt: skip
    assert second.trials[0].config == result.best.config, "the best known is tried first"
    assert suggest(SPACE, Task("toy3"), count=1, store=tmp_path)[0].config == result.best.config


@pytest.mark.parametrize("trainable", [Nested, nested])
def test_a_nested_metric_is_named_by_its_path(trainable: Any, tmp_path: Path) -> None:
    result = search(
        SPACE, Task("toy", metric="eval/loss"), trainable, trials=1, store=tmp_path, display=False
    )
    assert result.best is not None
    assert result.best.value == 0.5


def test_what_ray_measures_may_be_the_metric(tmp_path: Path) -> None:
    task = Task("toy", metric="time_total_s")
    (trial,) = search(SPACE, task, Class, trials=1, store=tmp_path, display=False).trials
    assert trial.state is TrialState.COMPLETE
    assert trial.value == trial.cost


def test_without_memory_nothing_is_remembered(tmp_path: Path) -> None:
    for name, memory in (("a", True), ("b", True), ("c", False)):
        result = search(
            SPACE, Task(name), Class, trials=2, store=tmp_path, memory=memory,
            pruner=NoPruner(), display=False,
        )  # fmt: skip
        assert bool(result.study.experience) == (name == "b")


def test_by_default_a_trial_that_trained_to_its_end_is_complete(tmp_path: Path) -> None:
    result = search(
        SPACE, "toy", Class, trials=12, store=tmp_path, max_steps=3, optimizer=RandomSearch(),
        display=False,
    )  # fmt: skip
    assert {t.step for t in result.trials} == {1, 3}
    for trial in result.trials:
        assert trial.state is (TrialState.COMPLETE if trial.step == 3 else TrialState.PRUNED)


def test_max_steps_end_a_trial_as_complete(tmp_path: Path) -> None:
    result = search(
        SPACE, "toy", Class, trials=2, store=tmp_path, max_steps=3, pruner=NoPruner(), display=False
    )
    assert [(t.state, t.step) for t in result.trials] == [(TrialState.COMPLETE, 3)] * 2


def test_a_time_budget_stops_and_the_rest_is_resumed(tmp_path: Path) -> None:
    slow = SearchSpace({"x": Float(0, 1), "seconds": Categorical((0.2,))})
    options: dict[str, Any] = {"trials": 8, "store": tmp_path, "display": False}
    began = time.monotonic()
    first = search(slow, "toy", function, time_budget=2.0, **options)
    assert not first.complete
    assert time.monotonic() - began < 10
    again = search(slow, "toy", function, **options)
    assert again.complete
    ended = {t.number: t for t in first.trials if t.state.finished}
    assert {n: t for n, t in enumerate(again.trials) if n in ended} == ended


@pytest.mark.parametrize("gone", [False, True])
def test_a_trial_starts_from_its_checkpoint_or_anew_if_that_is_gone(
    tmp_path: Path, gone: bool
) -> None:
    class Interrupt(tune.Callback):
        def on_checkpoint(self, **info: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    slow = SearchSpace({"x": Float(0, 1), "seconds": Categorical((0.2,))})
    options: dict[str, Any] = {"trials": 1, "store": tmp_path, "pruner": NoPruner()}
    search(slow, "toy", Class, callbacks=[Interrupt()], display=False, **options)
    (before,) = ExperienceStore(tmp_path).trials()
    assert before.state is TrialState.RUNNING
    assert before.checkpoint is not None
    if gone:
        shutil.rmtree(before.checkpoint.path)
    (trial,) = search(slow, "toy", Class, display=False, **options).trials
    x = trial.config["x"]
    assert isinstance(x, float)
    assert [(r.step, r.value) for r in trial.curve] == [(s, loss(x, s)) for s in range(1, 7)]
    kept = [r.seconds for r in trial.curve[:2]] == [r.seconds for r in before.curve[:2]]
    assert kept == (not gone)


def test_another_setting_under_the_same_name_is_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"trials": 1, "store": tmp_path, "display": False, "study": "s"}
    search(SPACE, "toy", Class, optimizer=RandomSearch(), **options)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"optimizer": TPE()}, "optimizer = 'random', not 'tpe"),
        ({"seed": 1}, "seed = 0, not 1"),
        ({"task": Task("toy", metric="accuracy")}, "metric = 'loss', not 'accuracy'"),
        ({"space": SearchSpace({"x": Float(0, 2)})}, "parameter x"),
    ]
    for change, said in changes:
        given: dict[str, Any] = {"space": SPACE, "task": "toy", "optimizer": RandomSearch()}
        given |= options | change
        with pytest.raises(StudyError, match="was started with") as caught:
            search(trainable=Class, **given)
        assert said in str(caught.value)


def test_a_trial_that_never_fits_the_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a trial needs 1000 CPU"):
        search(SPACE, "toy", Class, store=tmp_path, resources=Resources(cpus=1000), display=False)
    assert ExperienceStore(tmp_path).studies() == []


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"seed": True}, {"study": " "}, {"time_budget": 0.0}]
)
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"must be"):
        search(SPACE, "toy", Class, store=tmp_path, display=False, **wrong)
    if "seed" in wrong:
        with pytest.raises(InputError, match=r"seed = .* must be"):
            suggest(SPACE, Task("toy"), store=tmp_path, **wrong)


def test_a_study_without_trials_may_have_other_settings(tmp_path: Path) -> None:
    options: dict[str, Any] = {"store": tmp_path, "display": False, "study": "s", "trials": 1}
    training = {"trainable": "wrong", "max_steps": None}
    ExperienceStore(tmp_path).put_study(Study("s", Task("toy"), SPACE, 7, 20, training=training))
    result = search(SPACE, "toy", Class, **options)
    assert result.study.training["trainable"] == "Class"
    assert ExperienceStore(tmp_path).studies() == [result.study]


def test_networks_that_do_not_fit_the_data_are_not_searched() -> None:
    both = SearchSpace(
        {"network": Categorical(("mlp", "cnn")), "depth": Integer(1, 3), "blocks": Integer(1, 3)},
        {"depth": {"network": ("mlp",)}, "blocks": {"network": ("cnn",)}},
    )
    assert network_problem(both, "digits").space == both
    assert network_problem(both, "iris").space.names == ["network", "depth"]


def test_the_users_own_callbacks_are_called(tmp_path: Path) -> None:
    seen: list[str] = []

    class Mine(tune.Callback):
        def on_trial_complete(self, **info: Any) -> None:
            seen.append("complete")

    search(
        SPACE, "toy", Class, trials=2, store=tmp_path, callbacks=[Mine()], pruner=NoPruner(),
        display=False,
    )  # fmt: skip
    assert seen == ["complete", "complete"]


def test_a_search_keeps_everything_on_s3(s3_uri: str) -> None:
    slow = SearchSpace({"x": Float(0, 1), "seconds": Categorical((0.05,))})
    options: dict[str, Any] = {"trials": 3, "store": s3_uri, "display": False}
    first = search(slow, "toy", Class, pruner=NoPruner(), **options)
    kept = ExperienceStore(s3_uri).trials()
    assert kept == first.trials
    assert all(trial.checkpoint is not None and trial.checkpoint.step == 6 for trial in kept)
    assert search(slow, "toy", Class, pruner=NoPruner(), **options).trials == kept
