"""MetaSearch, MetaScheduler and ExperienceRecorder in Tuners of the user's, on a real Ray."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.schedulers import ASHAScheduler, HyperBandScheduler, PopulationBasedTraining
from ray.tune.search import BasicVariantGenerator
from tune_programs import Class, function, loss

from metatune import (
    Categorical,
    ExperienceRecorder,
    ExperienceStore,
    Float,
    MetaScheduler,
    MetaSearch,
    SearchSpace,
    Study,
    Task,
    Trial,
)
from metatune.errors import ExperienceWarning, InputError
from metatune.experience.history.importing import plan_import
from metatune.experience.history.plans import Choices
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.running import _QUIET
from metatune.parameters import Value
from metatune.trial import Suggestion, TrialState

COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
FAILED, UNKNOWN = TrialState.FAILED, TrialState.UNKNOWN
SPACE = {"x": tune.uniform(0, 1)}
ENDLESS = {**SPACE, "endless": True}


@pytest.fixture(scope="module", autouse=True)
def _quiet(cluster: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in _QUIET.items():
            environment.setenv(name, value)
        yield


def fit(
    folder: Path,
    trainable: Any,
    param_space: Any = SPACE,
    *,
    search_alg: Any = None,
    scheduler: Any = None,
    samples: int = 1,
    concurrent: int = 1,
    **run: Any,
) -> tune.ResultGrid:
    return tune.Tuner(
        trainable,
        param_space=param_space,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            search_alg=search_alg,
            scheduler=scheduler,
            num_samples=samples,
            max_concurrent_trials=concurrent,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder / "ray"),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            **run,
        ),
    ).fit()


def kept(folder: Path) -> list[Trial]:
    return ExperienceStore(folder / "store").trials()


def ends(trials: Sequence[Trial]) -> list[tuple[TrialState, int]]:
    return [(trial.state, trial.step) for trial in trials]


class InTurn(RandomSearch):
    """Proposes every choice of the one parameter in turn."""

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] | None = None,
    ) -> list[Suggestion]:
        ((name, choices),) = study.space.parameters.items()
        assert isinstance(choices, Categorical)
        return [Suggestion({name: choices.choices[len(trials)]}, "in turn")]


def test_a_search_is_recorded_with_its_curves(tmp_path: Path) -> None:
    space = {**SPACE, "inner": {"n": tune.qrandint(0, 100, 25), "constant": [1]}}
    search = MetaSearch("toy", tmp_path / "store")
    results = fit(tmp_path, Class, space, samples=4, search_alg=search, scheduler=MetaScheduler())
    trials = kept(tmp_path)
    assert [t.number for t in trials] == [0, 1, 2, 3]
    assert [t.config for t in trials] == [
        {"x": r.config["x"], "inner/n": r.config["inner"]["n"]} for r in results
    ]
    assert all(r.config["inner"]["constant"] == [1] for r in results)
    for trial in trials:
        x = trial.config["x"]
        assert isinstance(x, float)
        assert trial.config["inner/n"] in (0, 25, 50, 75, 100)
        assert trial.state is COMPLETE
        assert [r.value for r in trial.curve] == [loss(x, s) for s in range(1, 7)]
        assert trial.value == loss(x, 6)
        assert trial.cost > 0


@pytest.mark.parametrize("told", [False, True], ids=["alone", "scheduler"])
def test_functions_end_as_they_do_with_their_reason(told: bool, tmp_path: Path) -> None:
    reasons = {
        "raises": "ValueError: no luck" if told else "Ray keeps the reason in error.txt",
        "nan": "loss = nan",
        "returns": "",
        "silent": "ended without reporting 'loss'",
        "value": "",
        "recovers": "",
    }
    expected = [
        (FAILED, 1), (FAILED, 0), (COMPLETE, 3), (FAILED, 0), (COMPLETE, 1), (COMPLETE, 2)
    ]  # fmt: skip
    samples = 6 if told else 3
    fit(
        tmp_path, function, {"how": tune.choice(list(reasons))}, samples=samples,
        search_alg=MetaSearch("toy", tmp_path / "store", optimizer=InTurn()),
        scheduler=MetaScheduler() if told else None,
    )  # fmt: skip
    trials = kept(tmp_path)
    assert [trial.config["how"] for trial in trials] == list(reasons)[:samples]
    assert ends(trials) == expected[:samples]
    for trial in trials:
        assert reasons[str(trial.config["how"])] in (trial.error or "")
        assert "\x1b" not in (trial.error or "")
    if told:
        assert [r.step for r in trials[-1].curve] == [2], "NaN is left out"


@pytest.mark.parametrize("told", [False, True], ids=["alone", "scheduler"])
def test_classes_that_are_done_or_reach_a_limit(told: bool, tmp_path: Path) -> None:
    space = {"x": 0.5, "endless": tune.choice([False, True])}
    fit(
        tmp_path, Class, space, samples=2, stop={"training_iteration": 8},
        search_alg=MetaSearch("toy", tmp_path / "store", optimizer=InTurn()),
        scheduler=MetaScheduler() if told else None,
    )  # fmt: skip
    assert ends(kept(tmp_path)) == [(COMPLETE if told else UNKNOWN, 6), (COMPLETE, 8)]


def test_a_stopper_leaves_it_open_what_ended_a_trial(tmp_path: Path) -> None:
    fit(
        tmp_path, Class, stop=lambda trial_id, result: result["training_iteration"] == 2,
        search_alg=MetaSearch("toy", tmp_path / "store"), scheduler=MetaScheduler(),
    )  # fmt: skip
    assert ends(kept(tmp_path)) == [(UNKNOWN, 2)]


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_what_a_scheduler_stops_is_pruned(name: str, tmp_path: Path) -> None:
    make: dict[str, Any] = {
        "asha": lambda: ASHAScheduler(max_t=4, reduction_factor=2),
        "hyperband": lambda: HyperBandScheduler(max_t=4, reduction_factor=2),
    }
    # One at a time: HyperBand of Ray 2.60 forgets a trial that is still being saved when another
    # ends its bracket, and waits for it for ever.
    alone = tune.with_resources(Class, {"cpu": ray.cluster_resources()["CPU"]})
    results = fit(
        tmp_path, alone, ENDLESS, samples=8, concurrent=8,
        search_alg=MetaSearch("toy", tmp_path / "store"), scheduler=MetaScheduler(make[name]()),
    )  # fmt: skip
    trials = kept(tmp_path)
    steps = {r.config["x"]: (r.metrics or {})["training_iteration"] for r in results}
    assert {t.config["x"]: t.step for t in trials} == steps
    assert {t.state for t in trials} == {COMPLETE, PRUNED}
    assert all((t.state is COMPLETE) == (t.step == 4) for t in trials)


def test_without_being_told_nothing_stopped_is_complete(tmp_path: Path) -> None:
    fit(
        tmp_path, Class, ENDLESS, samples=8, concurrent=2,
        search_alg=MetaSearch("toy", tmp_path / "store"),
        scheduler=ASHAScheduler(max_t=4, reduction_factor=2),
    )  # fmt: skip
    trials = kept(tmp_path)
    assert {t.state for t in trials} == {UNKNOWN}
    assert {t.step for t in trials} >= {4}


def test_halving_of_our_own_goes_by_what_was_recorded(tmp_path: Path) -> None:
    fit(
        tmp_path, Class, ENDLESS, samples=8, search_alg=MetaSearch("toy", tmp_path / "store"),
        scheduler=MetaScheduler(max_steps=3),
    )  # fmt: skip
    assert set(ends(kept(tmp_path))) == {(COMPLETE, 3), (PRUNED, 1)}


def test_a_recorder_records_what_any_searcher_tries(tmp_path: Path) -> None:
    space = {**ENDLESS, "deep": {"k": tune.grid_search([1, 2])}}
    recorder = ExperienceRecorder("toy", tmp_path / "store", space=space, metric="loss", mode="min")
    results = fit(
        tmp_path, Class, space, samples=4, concurrent=2, callbacks=[recorder],
        search_alg=BasicVariantGenerator(random_state=3),
        scheduler=MetaScheduler(ASHAScheduler(max_t=4, reduction_factor=2)),
    )  # fmt: skip
    trials = kept(tmp_path)
    assert {(t.config["x"], t.config["deep/k"]): t.step for t in trials} == {
        (r.config["x"], r.config["deep"]["k"]): (r.metrics or {})["training_iteration"]
        for r in results
    }
    assert {t.state for t in trials} == {COMPLETE, PRUNED}
    assert all((t.state is COMPLETE) == (t.step == 4) == (len(t.curve) == 4) for t in trials)


def test_a_recorder_alone_says_what_it_cannot_know(tmp_path: Path) -> None:
    recorder = ExperienceRecorder(Task("a"), tmp_path / "store", space=SPACE)
    fit(tmp_path, Class, callbacks=[recorder])
    how = {"how": tune.grid_search(["returns", "raises"])}
    recorder = ExperienceRecorder(Task("b"), tmp_path / "store", space=how)
    fit(tmp_path, function, how, callbacks=[recorder])
    trials = kept(tmp_path)
    assert ends(trials) == [(UNKNOWN, 6), (COMPLETE, 3), (FAILED, 1)]
    assert "ValueError: no luck" in (trials[-1].error or "")


def test_a_trial_is_not_recorded_twice(tmp_path: Path) -> None:
    how = {"how": tune.choice(["returns", "raises"])}
    fit(
        tmp_path, function, how, samples=2,
        callbacks=[ExperienceRecorder(Task("toy"), tmp_path / "store", space=how)],
        search_alg=MetaSearch("toy", tmp_path / "store", optimizer=InTurn()),
    )  # fmt: skip
    assert ends(kept(tmp_path)) == [(COMPLETE, 3), (FAILED, 1)]


def test_a_configuration_that_changes_ends_its_trial(tmp_path: Path) -> None:
    recorder = ExperienceRecorder(Task("toy"), tmp_path / "store", space=SPACE)
    population = PopulationBasedTraining(
        "training_iteration", perturbation_interval=2, hyperparam_mutations=SPACE,
        quantile_fraction=0.5, synch=True,
    )  # fmt: skip
    fit(
        tmp_path, Class, ENDLESS, samples=2, concurrent=2, callbacks=[recorder],
        scheduler=MetaScheduler(population), stop={"training_iteration": 4},
    )  # fmt: skip
    assert population._num_perturbations
    trials = kept(tmp_path)
    assert {trial.state for trial in trials} >= {PRUNED}
    for trial in trials:
        x = trial.config["x"]
        assert isinstance(x, float)
        assert [r.value for r in trial.curve] == [loss(x, s) for s in range(1, trial.step + 1)]
        assert (trial.state is COMPLETE) == (trial.step == 4)


def test_what_does_not_fit_the_space_is_left_out_with_a_warning(tmp_path: Path) -> None:
    space = SearchSpace({"x": Float(2, 3)})
    recorder = ExperienceRecorder(Task("toy"), tmp_path / "store", space=space)
    with pytest.warns(ExperienceWarning, match="a trial is left out: config of a trial: x = 0."):
        fit(tmp_path, Class, {"x": 0.5}, callbacks=[recorder])
    assert kept(tmp_path) == []


def test_a_restored_tuner_goes_on_with_its_study(tmp_path: Path) -> None:
    flag = tmp_path / "interrupted"

    class Interrupt(tune.Callback):
        """Ends the run at the second trial's second result, once."""

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            if len(trials) == 2 and result["training_iteration"] == 2 and not flag.exists():
                flag.touch()
                signal.raise_signal(signal.SIGINT)

    search = MetaSearch("toy", tmp_path / "store", seed=5)
    fit(
        tmp_path, Class, samples=4, search_alg=search, callbacks=[Interrupt()],
        scheduler=MetaScheduler(), name="run",
    )  # fmt: skip
    before = kept(tmp_path)
    assert ends(before) == [(COMPLETE, 6), (RUNNING, 2)]
    assert list((tmp_path / "ray" / "run").glob("searcher-state-*.json"))
    tune.Tuner.restore(str(tmp_path / "ray" / "run"), Class).fit()
    after = kept(tmp_path)
    assert ends(after) == [(COMPLETE, 6)] * 4
    assert [t.config for t in after[:2]] == [t.config for t in before]
    x = after[1].config["x"]
    assert isinstance(x, float)
    assert [r.value for r in after[1].curve] == [loss(x, s) for s in range(1, 7)]
    assert len(ExperienceStore(tmp_path / "store").studies()) == 1


def test_conditions_come_from_a_search_space(tmp_path: Path) -> None:
    space = SearchSpace.from_toml(
        'x = {type = "float", low = 0, high = 1}\n'
        'opt = {type = "categorical", choices = ["a", "b"]}\n'
        '"only/y" = {type = "float", low = 0, high = 1, when = {opt = ["a"]}}\n'
    )
    search = MetaSearch("toy", tmp_path / "store", space=space, metric="loss", mode="min")
    results = fit(tmp_path, Class, {}, samples=6, search_alg=search)
    assert {(r.config["opt"], "only" in r.config) for r in results} == {("a", True), ("b", False)}
    assert len(kept(tmp_path)) == 6


@pytest.mark.parametrize("how", ["MetaSearch", "ExperienceRecorder"])
def test_what_was_recorded_is_not_imported_from_the_folder(how: str, tmp_path: Path) -> None:
    store, folder = tmp_path / "store", str(tmp_path / "ray")
    logger = JsonLoggerCallback()
    if how == "MetaSearch":
        search = MetaSearch("toy", store)
        fit(tmp_path, Class, SPACE, samples=3, search_alg=search, callbacks=[logger])
    else:
        recorder = ExperienceRecorder("toy", store, space=SPACE, metric="loss", mode="min")
        fit(tmp_path, Class, SPACE, samples=3, callbacks=[logger, recorder])
    choices = Choices(direction="minimize")
    with pytest.raises(InputError, match="recorded by metatune when it ran, in study 'toy-"):
        plan_import(ExperienceStore(store), folder, "toy", choices)
    assert plan_import(ExperienceStore(tmp_path / "other"), folder, "toy", choices).trials == 3
