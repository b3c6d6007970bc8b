"""The sampler in Optuna studies: what it proposes, with and without experience."""

from __future__ import annotations

import copy
import math
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import PartialFixedSampler, TPESampler
from optuna.trial import TrialState

from metatune import Categorical, ExperienceStore, Float, MetaSampler, SearchSpace
from metatune.errors import ExperienceWarning, InputError, StoreAddressError, StoreError
from metatune.study import Study
from metatune.task import Task

Objective = Callable[[optuna.Trial], float]


def searched(
    sampler: optuna.samplers.BaseSampler, objective: Objective, trials: int
) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def asked(study: optuna.Study) -> list[dict[str, object]]:
    return [trial.params for trial in study.get_trials()]


@pytest.mark.parametrize("constraint_at", [None, 0.5])
def test_without_experience_trials_are_those_of_tpe(
    store: ExperienceStore, objective: Objective, constraint_at: float | None
) -> None:
    def constrained(trial: optuna.Trial) -> float:
        value = objective(trial)
        if constraint_at is not None:
            trial.set_constraint("limit", value - constraint_at)
        return value

    ours = searched(MetaSampler(store, seed=5), constrained, 40)
    assert asked(ours) == asked(searched(TPESampler(seed=5), constrained, 40))


def test_unrelated_experience_is_none(past: ExperienceStore) -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", 0, 1) + trial.suggest_int("y", 1, 9)

    ours = searched(MetaSampler(past, seed=5), objective, 15)
    assert asked(ours) == asked(searched(TPESampler(seed=5), objective, 15))


def test_the_first_trial_is_one_that_did_well_before(
    past: ExperienceStore, objective: Objective
) -> None:
    study = searched(MetaSampler(past, seed=1), objective, 3)
    before = [trial for trial in past.trials() if trial.study == "past"]
    first = study.trials[0].params
    assert first in [trial.config for trial in before]
    median = sorted(trial.value for trial in before if trial.value is not None)[len(before) // 2]
    assert study.trials[0].value is not None
    assert study.trials[0].value < median / 2
    assert study.best_value <= study.trials[0].value


def test_conditional_parameters_are_planned_together(
    past: ExperienceStore, objective: Objective
) -> None:
    study = searched(MetaSampler(past, seed=1), objective, 5)
    own = [s for s in past.studies() if s.name != "past"]
    assert [s.space.when for s in own] == [{"momentum": {"optimizer": ("sgd",)}}]
    optimizers = {t.suggestion.optimizer for s in own for t in past.trials(s.name)}
    assert optimizers == {"transfer"}
    with_momentum = [t for t in study.trials if "momentum" in t.params]
    assert with_momentum
    assert all(t.params["momentum"] > 0.3 for t in with_momentum)


def test_what_the_user_says_of_the_space_is_known_before_the_first_trial(
    past: ExperienceStore,
) -> None:
    space = SearchSpace({"layers": Categorical((1, 2)), "lr": Float(1e-5, 1e-1, log=True)})
    said = MetaSampler(past, seed=1, space=space)
    study = optuna.create_study(sampler=said)
    study.ask()
    assert "metatune:plan:0" in study.trials[0].system_attrs
    assert "lr" in study.trials[0].system_attrs["metatune:plan:0"]
    by_distributions = MetaSampler(past, space={"lr": FloatDistribution(1e-5, 1e-1, log=True)})
    assert by_distributions._space == SearchSpace({"lr": Float(1e-5, 1e-1, log=True)})


def test_values_fit_what_is_asked_whatever_was_planned(past: ExperienceStore) -> None:
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-2, 1.0, log=True)  # another range, beyond what was best
        layers = trial.suggest_int("layers", 3, 9, step=3)  # a grid
        optimizer = trial.suggest_categorical("optimizer", ["adam", "lion"])  # a new choice
        momentum = trial.suggest_float("momentum", 0.5, 0.9, step=0.1)  # without its condition
        new = trial.suggest_float("new", -1.0, 1.0)  # never heard of
        assert 1e-2 <= lr <= 1.0
        assert layers in (3, 6, 9)
        assert optimizer in ("adam", "lion")
        assert momentum == pytest.approx(round(momentum, 1))
        return lr + layers + momentum + new

    study = searched(MetaSampler(past, seed=3), objective, 5)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 5


def test_a_range_that_changes_from_trial_to_trial_is_kept_to(past: ExperienceStore) -> None:
    def objective(trial: optuna.Trial) -> float:
        high = 1 + trial.number % 4
        layers = trial.suggest_int("layers", 1, high)
        assert layers <= high
        return trial.suggest_float("lr", 1e-4, 1e-1, log=True) + layers

    study = searched(MetaSampler(past, seed=3), objective, 6)
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 6


def test_of_unrelated_searches_the_one_that_is_gone_on_with_speaks(
    past: ExperienceStore,
) -> None:
    from metatune.trial import Suggestion, Trial
    from metatune.trial import TrialState as OurState

    trees = SearchSpace({"lr": Float(0.01, 0.3), "depth": Float(1.0, 9.0)})
    past.put_study(Study("trees", Task("trees"), trees))
    past.append(
        [
            Trial(
                "trees",
                number,
                Suggestion({"lr": 0.02 + 0.01 * number, "depth": 1.0 + number / 4}, "random"),
                0,
                OurState.COMPLETE,
                value=abs(number - 20.0),
                finished_index=number,
            )
            for number in range(30)
        ]
    )

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 0.01, 0.3)
        return lr + trial.suggest_float("depth", 1.0, 9.0)

    study = searched(MetaSampler(past, "trees-again", seed=0), objective, 1)
    assert study.trials[0].params == pytest.approx({"lr": 0.22, "depth": 6.0})


def test_other_names_for_the_same_are_understood(past: ExperienceStore) -> None:
    def objective(trial: optuna.Trial) -> float:
        return abs(math.log10(trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)) + 3)

    study = searched(MetaSampler(past, seed=0), objective, 2)
    assert 10**-4 < study.trials[0].params["learning_rate"] < 10**-2


def test_enqueued_values_win_and_the_rest_is_planned_for_them(
    past: ExperienceStore, objective: Objective
) -> None:
    study = optuna.create_study(sampler=MetaSampler(past, seed=2))
    study.enqueue_trial({"optimizer": "adam", "lr": 0.05})
    study.optimize(objective, n_trials=1)
    study.enqueue_trial({"optimizer": "adam", "lr": 0.05})
    study.optimize(objective, n_trials=2)
    for trial in study.trials[:2]:
        assert (trial.params["optimizer"], trial.params["lr"]) == ("adam", 0.05)
    assert study.trials[0].params["layers"] == 2
    assert study.trials[1].params["layers"] != 2  # that was tried
    assert study.trials[2].params["lr"] < 0.05


def test_a_sampler_around_it_may_fix_parameters(
    past: ExperienceStore, objective: Objective
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        around = PartialFixedSampler({"layers": 4}, MetaSampler(past, seed=2))
    study = searched(around, objective, 3)
    assert [trial.params["layers"] for trial in study.trials] == [4, 4, 4]


def test_ask_and_tell(past: ExperienceStore) -> None:
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(past, seed=2))
    for _ in range(3):
        trial = study.ask({"lr": FloatDistribution(1e-5, 1e-1, log=True)})
        study.tell(trial, trial.params["lr"])
    assert len(study.trials) == 3


_CODE = """
import sys, optuna, metatune
optuna.logging.set_verbosity(optuna.logging.WARNING)

def objective(trial):
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    layers = trial.suggest_int("layers", 1, 4)
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        trial.suggest_float("momentum", 0.0, 1.0)
    return lr + layers + trial.suggest_float("new", 0.0, 1.0)

study = optuna.create_study(sampler=metatune.MetaSampler(sys.argv[1], "again", seed=7))
study.optimize(objective, n_trials=4)
print([trial.params for trial in study.trials])
"""


def test_another_process_proposes_the_same(past: ExperienceStore, tmp_path: Path) -> None:
    copied = shutil.copytree(past.uri, tmp_path / "copied")
    done = subprocess.run(
        [sys.executable, "-c", _CODE, copied],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    here: dict[str, Any] = {}
    exec(_CODE.replace("sys.argv[1]", repr(past.uri)), here)
    assert done.stdout.strip() == str(asked(here["study"]))


def test_a_search_goes_on_in_another_process_as_it_would_have(
    past: ExperienceStore, objective: Objective, tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    other = ExperienceStore(shutil.copytree(past.uri, tmp_path / "other"))
    whole = searched(MetaSampler(other, "whole", seed=7), objective, 4)
    for _ in range(2):
        study = optuna.create_study(
            storage=storage,
            study_name="parts",
            load_if_exists=True,
            sampler=MetaSampler(past, "parts", seed=7),
        )
        study.optimize(objective, n_trials=2)
    assert asked(study) == asked(whole)


def test_threads_on_one_study(past: ExperienceStore, objective: Objective) -> None:
    study = optuna.create_study(sampler=MetaSampler(past, "threads", seed=1))
    study.optimize(objective, n_trials=6, n_jobs=2)
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 6
    recorded = [t for s in past.studies() if "threads" in s.name for t in past.trials(s.name)]
    assert sorted(trial.number for trial in recorded) == list(range(6))


def test_trials_that_begin_together_are_not_planned_alike(past: ExperienceStore) -> None:
    study = optuna.create_study(sampler=MetaSampler(past, "together", seed=1))
    begun = [study.ask() for _ in range(3)]  # before anything is known of the space
    first = [trial.suggest_float("lr", 1e-5, 1e-1, log=True) for trial in begun]
    assert len(set(first)) == 3


def test_failures_and_nan_are_survived(past: ExperienceStore, objective: Objective) -> None:
    def failing(trial: optuna.Trial) -> float:
        value = objective(trial)
        if trial.number == 1:
            raise RuntimeError("boom")
        values = (value, 0.0, math.nan, math.inf, value)
        return float(values[trial.number])

    study = optuna.create_study(sampler=MetaSampler(past, "bad", seed=1))
    study.optimize(failing, n_trials=5, catch=(RuntimeError,))
    states = {
        t.number: t.state for s in past.studies() if "bad" in s.name for t in past.trials(s.name)
    }
    assert states == {0: "COMPLETE", 1: "FAILED", 2: "FAILED", 3: "FAILED", 4: "COMPLETE"}


def test_trials_that_violate_constraints_are_not_repeated(
    past: ExperienceStore, objective: Objective
) -> None:
    def constrained(trial: optuna.Trial) -> float:
        value = objective(trial)
        trial.set_constraint("size", trial.params["layers"] - 2.5)
        return float(value - trial.params["layers"])  # the more the better, were it allowed

    study = optuna.create_study(sampler=MetaSampler(past, "limited", seed=1))
    study.optimize(constrained, n_trials=6)
    own = [t for s in past.studies() if "limited" in s.name for t in past.trials(s.name)]
    for trial in own:
        config = trial.config["layers"]
        assert isinstance(config, int)
        assert (trial.state == "FAILED") == (config > 2)
        assert trial.error is None or "size" in trial.error


def test_several_objectives_are_left_to_optuna_with_one_warning(past: ExperienceStore) -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
        return lr, -lr

    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=MetaSampler(past, "two", seed=4)
    )
    with pytest.warns(ExperienceWarning, match="several objectives") as told:
        study.optimize(objective, n_trials=12)
    assert len(told) == 1
    peer = optuna.create_study(directions=["minimize", "minimize"], sampler=TPESampler(seed=4))
    peer.optimize(objective, n_trials=12)
    assert asked(study) == asked(peer)
    assert not [s for s in past.studies() if "two" in s.name]


def test_choices_that_no_parameter_holds_are_held_by_name(past: ExperienceStore) -> None:
    choices = [math.sin, math.cos, (1, 2), None, float("nan")]

    def objective(trial: optuna.Trial) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of choices that are no plain values
            choice = trial.suggest_categorical("act", choices)  # type: ignore[arg-type]
        assert any(choice is one for one in choices)
        return trial.suggest_float("lr", 1e-5, 1e-1, log=True)

    searched(MetaSampler(past, "odd", seed=1), objective, 6)
    [space] = {s.space.id: s.space for s in past.studies() if "odd" in s.name}.values()
    act = space.parameters["act"]
    assert act == Categorical(("sin", "cos", "[1, 2]", None, "nan"))
    assert space.parameters.keys() >= {"lr"}


def through_pickle(sampler: MetaSampler) -> MetaSampler:
    """A copy by way of what Optuna's users keep in a file."""
    restored = pickle.loads(pickle.dumps(sampler))  # noqa: S301  written one line above
    assert isinstance(restored, MetaSampler)
    return restored


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_a_copy_goes_on_with_the_same_generator(
    store: ExperienceStore,
    objective: Objective,
    copied: Callable[[MetaSampler], MetaSampler],
    tmp_path: Path,
) -> None:
    sampler = MetaSampler(store, seed=5)
    whole = searched(sampler, objective, 8)
    sampler = MetaSampler(tmp_path / "other", seed=5)
    study = searched(sampler, objective, 4)
    study.sampler = copied(sampler)
    study.optimize(objective, n_trials=4)
    assert asked(study) == asked(whole)


def test_a_store_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreAddressError, match="file"):
        MetaSampler(tmp_path / "file")


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"seed": "1"},
        {"seed": 1.5},
        {"task": ""},
        {"task": Task("digits")},
        {"metric": ""},
        {"metafeatures": {"rows": math.nan}},
        {"metafeatures": {"rows": "many"}},
        {"space": "mlp"},
        {"space": {"lr": (0.1, 1.0)}},
    ],
)
def test_bad_arguments_are_refused(store: ExperienceStore, arguments: dict[str, object]) -> None:
    with pytest.raises(InputError, match="must be"):
        MetaSampler(store, **arguments)  # type: ignore[arg-type]


def test_a_store_that_fails_later_costs_no_trial(
    past: ExperienceStore, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(sampler=MetaSampler(past, "late", seed=1))
    study.optimize(objective, n_trials=1)

    def broken(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(past, "append", broken)
    with pytest.warns(ExperienceWarning, match="disk is full") as told:
        study.optimize(objective, n_trials=3)
    assert len(told) == 1
    assert len(study.get_trials(states=[TrialState.COMPLETE])) == 4


def test_an_experience_that_cannot_be_read_is_done_without(
    past: ExperienceStore, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StoreError("no route to host")

    monkeypatch.setattr(past, "cutoff", broken)
    with pytest.warns(ExperienceWarning, match="nor recorded: no route to host") as told:
        study = searched(MetaSampler(past, seed=5), objective, 12)
    assert len(told) == 1
    assert asked(study) == asked(searched(TPESampler(seed=5), objective, 12))


def test_single_values_and_studies_without_parameters(past: ExperienceStore) -> None:
    def constant(trial: optuna.Trial) -> float:
        trial.suggest_categorical("optimizer", ["sgd"])
        trial.suggest_int("layers", 3, 3)
        return trial.suggest_float("lr", 1e-5, 1e-1, log=True)

    searched(MetaSampler(past, "constant", seed=1), constant, 3)
    searched(MetaSampler(past, "nothing", seed=1), lambda trial: 1.0, 2)
    own = [t for s in past.studies() if "constant" in s.name for t in past.trials(s.name)]
    assert [(t.config["optimizer"], t.config["layers"]) for t in own] == [("sgd", 3)] * 3
    assert isinstance(CategoricalDistribution(["sgd"]).single(), bool)
