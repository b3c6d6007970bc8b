from __future__ import annotations

from dataclasses import replace

from optimizer_cases import SPACES, GivenMemory, ended, lived, past_tasks, study_of

from metatune.optimizers.auto import ByCost, auto, transfer
from metatune.optimizers.optuna_samplers import GP, TPE
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.transfer import Transfer
from metatune.parameters import Float
from metatune.space import SearchSpace
from metatune.trial import Trial, TrialState

SPACE = SPACES["tree"]
RELATED = GivenMemory(SPACE, past_tasks(SPACE))
UNRELATED = GivenMemory(SearchSpace({"colour": Float(0.0, 1.0)}), past_tasks(SPACE))


def test_what_is_learned_proposes_where_a_past_task_is_related() -> None:
    for make in (auto, transfer):
        made = make(RELATED)
        assert isinstance(made, Transfer)
        assert made.past is RELATED.model()


def test_without_related_experience_it_goes_by_cost() -> None:
    words = "gp(startup=10) below 50 trials of 5 s or more, else tpe(startup=10)"
    assert str(auto(GivenMemory(SPACE, []))) == words
    assert str(auto(UNRELATED)) == words


def test_transfer_does_without_a_past_task_too() -> None:
    made = transfer(UNRELATED)
    assert isinstance(made, Transfer)
    assert len(lived(made, UNRELATED.space, 0, 3)) == 3


def tried(count: int, cost: float) -> list[Trial]:
    return [replace(trial, cost=cost) for trial in lived(RandomSearch(), SPACE, 1, count)]


def asked(trials: list[Trial]) -> str:
    by_cost = ByCost(GP(startup_trials=3), TPE(startup_trials=3))
    return by_cost.suggest(study_of(SPACE), trials, 1, 0)[0].optimizer


def test_few_expensive_trials_are_for_the_gaussian_process() -> None:
    assert asked(tried(12, 5.0)) == "gp"
    assert asked(tried(49, 60.0)) == "gp"


def test_cheap_and_many_trials_are_for_tpe() -> None:
    assert asked(tried(12, 4.9)) == "tpe"
    assert asked(tried(50, 60.0)) == "tpe"


def test_the_median_cost_counts() -> None:
    trials = tried(12, 1.0)
    slow = [replace(trial, cost=1000.0) for trial in trials]
    assert asked([*slow[:5], *trials[5:]]) == "tpe"
    assert asked([*slow[:7], *trials[7:]]) == "gp"


def test_mostly_pruned_trials_are_for_tpe_which_can_learn_from_them() -> None:
    trials = tried(12, 60.0)
    pruned = [replace(trial, state=TrialState.PRUNED) for trial in trials]
    assert asked([*pruned[:6], *trials[6:]]) == "gp"
    assert asked([*pruned[:7], *trials[7:]]) == "tpe"


def test_the_budget_does_not_matter_nor_what_still_runs() -> None:
    trials = tried(12, 60.0)
    running = [Trial("study", 12 + n, trials[n % 12].suggestion, 0) for n in range(60)]
    by_cost = ByCost(GP(startup_trials=3), TPE(startup_trials=3))
    for budget in (13, 500):
        study = replace(study_of(SPACE), trials=budget)
        assert by_cost.suggest(study, [*trials, *running], 1, 0)[0].optimizer == "gp"


def test_before_anything_is_learned_both_draw_the_same() -> None:
    study = study_of(SPACE)
    failed = ended(0, lived(RandomSearch(), SPACE, 0, 1)[0].suggestion, 0.0, TrialState.FAILED)
    for trials in ([], [failed]):
        first = [made.suggest(study, trials, 3, 7) for made in (GP(), TPE(), ByCost())]
        assert first[0] == first[1] == first[2]
        assert first[0][0].optimizer == "random"
