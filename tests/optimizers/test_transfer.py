"""How well experience is used, on a small family of tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from bowls import SPACE, Bowl, bowl, past_bowls, tried
from optimizer_cases import SPACES, best_of, lived, study_of

from metatune.errors import InputError
from metatune.experience.past import PastTask
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.transfer import Transfer
from metatune.optimizers.transfer_model import TransferModel, fit
from metatune.parameters import Categorical, Float, Parameter
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Trial

NEW = range(100, 104)  # seeds of new tasks of the family


@cache
def experience() -> TransferModel:
    model = fit(past_bowls(), SPACE, 0)
    assert model is not None
    return model


def inverse(space: SearchSpace, config: Config) -> float:
    return -bowl(100).value(space, config)


def along_momentum(space: SearchSpace, config: Config) -> float:
    return (float(config["momentum"] or 0.0) - 0.4) ** 2


def along_decay(space: SearchSpace, config: Config) -> float:
    return abs(float(config["decay"] or 0.0) - 0.85)


@cache
def misleading() -> TransferModel:
    """Tasks on which one parameter decides, which does not matter afterwards."""
    past = [
        PastTask(Task(f"{n}"), SPACE, tuple(tried(SPACE, along_momentum, n, 50))) for n in range(4)
    ]
    model = fit(past, SPACE, 0)
    assert model is not None
    return model


def mean_best(trials: Sequence[Sequence[Trial]], count: int) -> float:
    return float(np.mean([best_of(each[:count]) for each in trials]))


def test_the_first_proposal_is_what_past_tasks_expect_most_of_among_all_they_tried() -> None:
    suggestion = Transfer(experience()).suggest(study_of(SPACE), [], 1, 0)[0]
    configs = [trial.config for past in past_bowls() for trial in past.trials]
    expected = experience().values(experience().features.of(configs)).mean(axis=0)
    assert suggestion.config == configs[int(np.argmin(expected))]
    assert sum(suggestion.tasks.values()) == pytest.approx(1.0)
    assert sorted(suggestion.tasks) == [f"bowl {n}" for n in range(1, 5)]


def test_a_task_like_past_ones_is_solved_in_a_fifth_of_the_trials() -> None:
    learned = [lived(Transfer(experience()), SPACE, n, 8, bowl(n).value) for n in NEW]
    alone = [lived(TPE(), SPACE, n, 40, bowl(n).value) for n in NEW]
    assert mean_best(learned, 8) < 0.5 * mean_best(alone, 40)
    assert mean_best(learned, 1) < mean_best(alone, 10)
    assert not any(trial.suggestion.guarded for trials in learned for trial in trials)


def test_experience_that_is_upside_down_is_turned() -> None:
    """The prior knows tasks that are the opposite of the average."""
    turned = [lived(Transfer(experience()), SPACE, seed, 25, inverse) for seed in range(2)]
    alone = [lived(Transfer([]), SPACE, seed, 25, inverse) for seed in range(2)]
    assert mean_best(turned, 1) > -0.1, "misled at first"
    assert mean_best(turned, 10) < mean_best(alone, 10) + 0.05
    assert mean_best(turned, 25) < mean_best(alone, 25) + 0.05


def test_experience_that_misleads_is_overruled() -> None:
    misled = [lived(Transfer(misleading()), SPACE, seed, 25, along_decay) for seed in range(4)]
    alone = [lived(Transfer([]), SPACE, seed, 25, along_decay) for seed in range(4)]
    assert mean_best(misled, 25) < mean_best(alone, 25) + 0.005
    late = []
    for trials in misled:
        weights = [sum(trial.suggestion.tasks.values()) for trial in trials]
        guarded = [trial.suggestion.guarded for trial in trials]
        # Every fifth trial is proposed without experience, which says nothing of what it is worth.
        assert weights[5::5] == [0.0] * 4
        assert guarded == [weight < 0.5 and n % 5 > 0 for n, weight in enumerate(weights)]
        assert weights[:3] == pytest.approx([1.0] * 3)
        assert not any(guarded[:3])
        late += guarded[15:]
    # Not always: adjusted to the task, what was learned predicts it too.
    assert sum(late) > 16, "of 32"


def test_every_fifth_trial_is_proposed_as_if_there_were_no_experience() -> None:
    pool = [trial.config for trial in tried(SPACE, bowl(100).value, 0, 60)]
    trials = lived(Transfer(misleading(), pool), SPACE, 0, 16, bowl(100).value)
    alike = []
    for count in range(5, 16):
        alone = Transfer([], pool).suggest(study_of(SPACE), trials[:count], 1, 0)[0]
        alike.append(trials[count].config == alone.config)
        assert (not trials[count].suggestion.tasks) == (count % 5 == 0)
    assert all(alike[::5])
    assert not all(alike)


def test_without_related_experience_nothing_is_claimed() -> None:
    stranger = SearchSpace({"colour": Categorical(("red", "blue"))})
    past = [PastTask(Task("t"), stranger, tuple(tried(stranger, lambda s, c: 1.0, 0, 9)))]
    trials = lived(Transfer(past), SPACE, 0, 6, bowl(0).value)
    assert trials == lived(Transfer([]), SPACE, 0, 6, bowl(0).value)
    assert not any(trial.suggestion.guarded or trial.suggestion.tasks for trial in trials)


def test_the_model_of_another_space_is_refused() -> None:
    with pytest.raises(InputError, match=f"space {SPACE.id}, not {SPACES['floats'].id}"):
        Transfer(experience()).suggest(study_of(SPACES["floats"]), [], 1, 0)


@pytest.mark.parametrize("name", ["learned", "alone"])
def test_how_trials_came_to_be_known_does_not_matter(name: str) -> None:
    """One by one, all at once, or by an object that was asked other things between."""
    past: TransferModel | list[PastTask] = experience() if name == "learned" else []
    value, study = bowl(100).value, study_of(SPACE)
    trials = lived(Transfer(past), SPACE, 0, 14, value)
    busy = Transfer(past)
    for count in (0, 3, 11, 13):
        expected = trials[count].suggestion
        assert Transfer(past).suggest(study, trials[:count], 1, 0) == [expected]
        assert busy.suggest(study, trials[:count], 3, 0)[0] == expected
        busy.suggest(study, trials[:4], 1, 0, given={"kind": "bad"})
        busy.suggest(study, trials[:4], 1, 5)
    batch = Transfer(past).suggest(study, trials[:12], 4, 0)
    known = [*trials[:12]]
    for suggestion in batch:
        assert Transfer(past).suggest(study, known, 1, 0) == [suggestion]
        known.append(Trial("study", len(known), suggestion, 0))


@pytest.mark.parametrize("unit", [1024.0, 0.03125])
def test_units_do_not_matter(unit: float) -> None:
    trials = lived(Transfer(experience()), SPACE, 0, 13, bowl(100).value)
    others = lived(Transfer(experience()), SPACE, 0, 13, replace(bowl(100), unit=unit).value)
    for one, other in zip(trials, others, strict=True):
        assert one.config == other.config
        if one.suggestion.predicted is not None and one.suggestion.uncertainty is not None:
            assert other.suggestion.predicted == pytest.approx(unit * one.suggestion.predicted)
            assert other.suggestion.uncertainty == pytest.approx(unit * one.suggestion.uncertainty)


WIDER: dict[str, dict[str, Parameter]] = {
    "a range wider on both sides": {"rate": Float(1e-6, 100.0, log=True)},
    "a parameter more": {"clip": Float(0.0, 1.0)},
    "a category more": {"kind": Categorical(("new", "plain", "good", "bad"))},
}


@pytest.mark.parametrize("change", WIDER)
def test_experience_of_a_narrower_space_helps(change: str) -> None:
    space = SearchSpace({**SPACE.parameters, **WIDER[change]})
    model = fit(past_bowls(count=3, trials=30), space, 0)
    assert model is not None
    learned = [lived(Transfer(model), space, n, 6, bowl(n).value) for n in NEW]
    drawn = [lived(RandomSearch(), space, n, 30, bowl(n).value) for n in NEW]
    assert mean_best(learned, 1) < mean_best(drawn, 6)
    assert mean_best(learned, 6) < mean_best(drawn, 30)


def test_tasks_with_like_metafeatures_are_asked_first() -> None:
    groups = {"small": (1e2, 0.2), "large": (1e6, 0.8)}
    past = [
        PastTask(
            Task(f"{size} {n}", metafeatures={"rows": rows}),
            SPACE,
            tuple(tried(SPACE, Bowl(momentum, 0.3, 0.2).value, n, 40)),
        )
        for size, (rows, momentum) in groups.items()
        for n in range(2)
    ]
    optimizer = Transfer(past)
    for size, (rows, momentum) in groups.items():
        study = Study("study", Task("new", metafeatures={"rows": 1.5 * rows}), SPACE)
        suggestion = optimizer.suggest(study, [], 1, 0)[0]
        assert float(suggestion.config["momentum"] or 0.0) == pytest.approx(momentum, abs=0.2)
        assert sum(w for name, w in suggestion.tasks.items() if name.startswith(size)) > 0.7


def test_what_fails_is_left_alone() -> None:
    """Though past tasks did best there."""

    def value(space: SearchSpace, config: Config) -> float:
        return math.nan if config["kind"] == "good" else bowl(100).value(space, config)

    trials = lived(Transfer(experience()), SPACE, 0, 20, value)
    failed = [trial.value is None for trial in trials]
    assert failed[0]
    assert sum(failed[12:]) <= 4
    assert best_of(trials) < 0.35
