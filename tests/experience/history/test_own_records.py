"""What metatune recorded when it ran is not imported into the same store again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler

from metatune import (
    ExperienceStore,
    Float,
    MetaSampler,
    SearchSpace,
    Study,
    Task,
    Trial,
)
from metatune.errors import InputError
from metatune.experience.history.importing import carry_out, plan_import
from metatune.experience.history.plans import ImportPlan
from metatune.export.optuna_journal import to_text
from metatune.trial import Report, Suggestion, TrialState

RECORDED = "recorded by metatune when it ran, in study "


@pytest.fixture
def store(tmp_path: Path) -> ExperienceStore:
    return ExperienceStore(tmp_path / "store")


def import_(store: ExperienceStore, address: str, task: str = "shop") -> ImportPlan:
    plan = plan_import(store, address, task)
    carry_out(store, plan)
    return plan


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0.0, 1.0)
    if trial.number == 2:
        raise ValueError
    return x


@pytest.fixture
def sampled(store: ExperienceStore, tmp_path: Path) -> tuple[str, optuna.Study]:
    """A storage with a study that MetaSampler recorded."""
    address = f"sqlite:///{tmp_path}/x.db"
    sampler = MetaSampler(store, "shop", seed=0)
    study = optuna.create_study(study_name="s", storage=address, sampler=sampler)
    study.optimize(objective, n_trials=5, catch=(ValueError,))
    return address, study


def test_what_a_sampler_recorded_is_left_out(
    store: ExperienceStore, sampled: tuple[str, optuna.Study]
) -> None:
    address, study = sampled
    before = store.trials()
    for task in ("shop", "another task"):
        with pytest.raises(InputError, match=r"nothing can be imported: .*trial 0 recorded by"):
            import_(store, address, task)
    study.sampler = RandomSampler(seed=0)
    study.optimize(objective, n_trials=2)
    (planned,) = import_(store, address).studies
    assert [t.training["imported"]["trial"] for t in planned.trials] == ["5", "6"]
    (own,) = [s.name for s in store.studies() if s.optimizer == "MetaSampler"]
    assert [(one.what, one.reason) for one in planned.left_out] == [
        (f"trial {number}", f"{RECORDED}{own!r}") for number in range(5)
    ]
    assert len(store.trials()) == len(before) + 2
    assert import_(store, address).trials == 0


def test_a_copy_of_a_storage_is_known_too(
    store: ExperienceStore, sampled: tuple[str, optuna.Study], tmp_path: Path
) -> None:
    elsewhere = f"sqlite:///{tmp_path}/copy.db"
    optuna.copy_study(from_study_name="s", from_storage=sampled[0], to_storage=elsewhere)
    with pytest.raises(InputError, match="recorded by metatune"):
        import_(store, elsewhere)


def test_another_store_takes_what_a_sampler_recorded_in_this_one(
    store: ExperienceStore, sampled: tuple[str, optuna.Study], tmp_path: Path
) -> None:
    other = ExperienceStore(tmp_path / "other")
    assert import_(other, sampled[0]).trials == 5
    assert import_(other, sampled[0]).trials == 0


def exported(path: Path, study: Study, trials: list[Trial]) -> str:
    path.write_text(to_text(study, trials))
    return str(path)


def searched(seconds: float) -> tuple[Study, list[Trial]]:
    """A study of metatune's own, each trial of which took so long."""
    study = Study("shop-0", Task("shop"), SearchSpace({"x": Float(0.0, 1.0)}))
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.COMPLETE]
    return study, [
        Trial(
            "shop-0",
            number,
            Suggestion({"x": 0.1 * (1 + number)}, "random"),
            number,
            state,
            (Report(1, 1.0 + number, seconds),),
            None if state is TrialState.FAILED else 1.0 + number,
            number,
            cost=seconds,
            error="no luck" if state is TrialState.FAILED else None,
        )
        for number, state in enumerate(states)
    ]


def test_an_exported_study_is_not_imported_beside_itself(
    store: ExperienceStore, tmp_path: Path
) -> None:
    study, trials = searched(0.125)
    journal = exported(tmp_path / "journal.log", study, trials)
    store.put_study(study)
    store.append(trials[1:])
    (planned,) = import_(store, journal).studies
    assert [t.config for t in planned.trials] == [trials[0].config], "which is not in the store"
    assert [(one.what, one.reason) for one in planned.left_out] == [
        (f"trial {number}", f"{RECORDED}'shop-0'") for number in (1, 2, 3)
    ]
    store.append(trials[:1])
    with pytest.raises(InputError, match="recorded by metatune when it ran, in study 'shop-0'"):
        import_(store, journal)


def test_a_study_of_somebody_else_that_has_the_same_name_is_imported(
    store: ExperienceStore, tmp_path: Path
) -> None:
    study, trials = searched(0.125)
    store.put_study(study)
    store.append(trials)
    theirs = [replace(t, cost=0.25) for t in trials[:2]]
    theirs += [replace(t, value=t.value and t.value + 1.0) for t in trials[3:]]
    assert import_(store, exported(tmp_path / "journal.log", study, theirs)).trials == 3
