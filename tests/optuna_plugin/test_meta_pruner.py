"""The pruner stops what metatune's own rule stops, in Optuna studies."""

from __future__ import annotations

import copy

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from metatune import ExperienceStore, MetaPruner, MetaSampler
from metatune.errors import InputError
from metatune.task import Direction


def pruned(direction: Direction, every: int, steps: int = 9, first: int = 1) -> list[bool]:
    """Which of eight trials stop, the earlier the better, asked after every so many reports."""
    study = optuna.create_study(
        direction=direction, pruner=MetaPruner(min_step=1), sampler=RandomSampler(seed=0)
    )
    sign = 1 if direction == "minimize" else -1

    def objective(trial: optuna.Trial) -> float:
        for step in range(first, first + steps):
            trial.report(sign * (trial.number + 1 / step if step else 9.0), step)
            if step % every == 0 and trial.should_prune():
                assert trial.should_prune()  # the answer stays the same
                raise optuna.TrialPruned
        return sign * float(trial.number)

    study.optimize(objective, n_trials=8)
    return [trial.state is TrialState.PRUNED for trial in study.trials]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("every", [1, 4, 9])
def test_the_worse_stop(direction: Direction, every: int) -> None:
    assert pruned(direction, every) == [False] + [True] * 7


def test_steps_may_count_from_nothing() -> None:
    assert pruned("minimize", 1, first=0) == [False] + [True] * 7


def test_without_reports_nothing_stops() -> None:
    study = optuna.create_study(pruner=MetaPruner())
    assert not study.ask().should_prune()


def test_a_report_of_nan_stops_at_a_rung() -> None:
    trial = optuna.create_study(pruner=MetaPruner()).ask()
    trial.report(float("nan"), 1)
    assert trial.should_prune()


def test_studies_do_not_mix() -> None:
    pruner = MetaPruner()
    for values in ((1.0, 2.0), (5.0, 6.0)):
        study = optuna.create_study(pruner=pruner)
        answers = []
        for value in values:
            trial = study.ask()
            trial.report(value, 1)
            answers.append(trial.should_prune())
            study.tell(trial, value)
        assert answers == [False, True]
    assert not copy.deepcopy(pruner).prune(study, study.trials[0])


def test_with_the_sampler_curves_of_what_was_stopped_are_kept(store: ExperienceStore) -> None:
    study = optuna.create_study(
        sampler=MetaSampler(store, "pruned", seed=0), pruner=MetaPruner(max_step=27)
    )

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0.0, 1.0)
        for step in range(1, 10):
            trial.report(x + 1 / step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study.optimize(objective, n_trials=8)
    ours = store.trials(task="pruned")
    assert {t.state for t in ours} == {"PRUNED", "COMPLETE"}
    assert [len(t.curve) for t in ours] == [len(t.intermediate_values) for t in study.trials]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="reduction"):
        MetaPruner(reduction=1)
