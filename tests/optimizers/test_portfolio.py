from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from optimizer_cases import SPACES, ended, lived, past_tasks, study_of

from metatune.errors import InputError
from metatune.experience.past import PastTask
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.portfolio import Portfolio
from metatune.optimizers.random import RandomSearch
from metatune.parameters import Categorical, Float, Integer
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState

SPACE = SearchSpace(
    {
        "optimizer": Categorical(("sgd", "adamw")),
        "rate": Float(1e-5, 1e-1, log=True),
        "momentum": Float(0.0, 0.99),
    },
    {"momentum": {"optimizer": ("sgd",)}},
)


def value(space: SearchSpace, config: Config, rate: float) -> float:
    """Best with adamw at `rate`."""
    found = config["rate"]
    assert isinstance(found, float)
    return math.log10(found / rate) ** 2 + (1.0 if config["optimizer"] == "sgd" else 0.0)


def task_tried(
    name: str, rate: float, unit: float = 1.0, space: SearchSpace = SPACE, count: int = 40
) -> PastTask:
    """A past task whose best rate is `rate`, measured in units of `unit`."""
    trials = lived(
        RandomSearch(), space, len(name), count, lambda space, c: unit * value(space, c, rate)
    )
    return PastTask(Task(name, metafeatures={"rows": 1.0 / rate}), space, tuple(trials))


def study(metafeatures: Mapping[str, float] = {}, space: SearchSpace = SPACE) -> Study:
    return Study("study", Task("new", metafeatures=metafeatures), space)


def rate_of(suggestion: Suggestion) -> float:
    found = suggestion.config["rate"]
    assert isinstance(found, float)
    return found


def test_the_known_winner_comes_first() -> None:
    past = task_tried("past", 1e-3)
    winner = min(past.trials, key=lambda trial: trial.value or 0.0)
    first = Portfolio([past]).suggest(study(), [], 1, 0)[0]
    assert first == Suggestion(winner.config, "portfolio", {"past": 1.0})


def test_past_tasks_count_alike_whatever_their_units() -> None:
    def proposed(unit: float) -> list[Config]:
        tasks = [task_tried("one", 1e-4), task_tried("other", 1e-2, unit)]
        return [s.config for s in Portfolio(tasks).suggest(study(), [], 6, 0)]

    assert proposed(1.0) == proposed(2.0**-40) == proposed(2.0**40)


def test_the_set_covers_the_past_tasks_one_after_the_other() -> None:
    tasks = [task_tried(f"{rate}", rate) for rate in (1e-5, 3e-4, 1e-1)]
    batch = Portfolio(tasks).suggest(study(), [], 3, 0)
    for suggestion, others in zip(batch, [batch[1:], batch[:1], batch[:2]], strict=True):
        assert suggestion.config not in [other.config for other in others]
    spoke = [max(s.tasks, key=lambda name: s.tasks[name]) for s in batch]
    assert {"1e-05", "0.1"} <= set(spoke)


def test_similar_tasks_speak_first() -> None:
    tasks = [task_tried("low", 1e-5), task_tried("high", 1e-1)]
    low, high = (
        Portfolio(tasks).suggest(study({"rows": 1.0 / rate}), [], 1, 0)[0] for rate in (1e-5, 1e-1)
    )
    assert rate_of(low) < 1e-3 < rate_of(high)
    assert low.tasks["low"] > 0.5 > low.tasks.get("high", 0.0)


def test_the_same_task_speaks_loudest() -> None:
    known = [task_tried(name, rate) for name, rate in (("a", 1e-5), ("b", 1e-5), ("new", 1e-1))]
    known = [PastTask(Task(past.task.name), past.space, past.trials) for past in known]
    first = Portfolio(known).suggest(study(), [], 1, 0)[0]
    assert rate_of(first) > 1e-2


def test_tasks_that_predict_what_is_seen_gain_weight() -> None:
    tasks = [task_tried("low", 1e-5), task_tried("high", 1e-1)]
    tasks = [PastTask(Task(past.task.name), past.space, past.trials) for past in tasks]
    seen = lived(RandomSearch(), SPACE, 7, 10, lambda space, c: value(space, c, 1e-1))
    suggestion = Portfolio(tasks).suggest(study(), seen, 1, 0)[0]
    assert suggestion.tasks["high"] > 0.9
    assert rate_of(suggestion) > 1e-2


def test_after_its_size_another_optimizer_goes_on() -> None:
    then = TPE(startup_trials=3)
    portfolio = Portfolio([task_tried("past", 1e-3)], size=4, then=then)
    trials = lived(portfolio, SPACE, 0, 12, lambda space, c: value(space, c, 1e-2))
    assert [trial.suggestion.optimizer for trial in trials] == ["portfolio"] * 4 + ["tpe"] * 8
    for number in (4, 11):
        expected = then.suggest(study_of(SPACE), trials[:number], 1, 0)[0]
        assert trials[number].suggestion == expected


def test_without_related_experience_the_other_optimizer_does_it_all() -> None:
    unrelated = PastTask(Task("other"), SearchSpace({"colour": Float(0.0, 1.0)}), ())
    unfinished = PastTask(Task("none"), SPACE, task_tried("x", 1e-3).trials[:2])
    for past in ([], [unrelated], [unfinished]):
        expected = RandomSearch().suggest(study(), [], 3, 5)
        assert Portfolio(past, then=RandomSearch()).suggest(study(), [], 3, 5) == expected


def test_a_small_past_is_used_up() -> None:
    past = task_tried("past", 1e-3, count=3)
    batch = Portfolio([past], then=RandomSearch()).suggest(study(), [], 5, 0)
    assert [suggestion.optimizer for suggestion in batch] == ["portfolio"] * 3 + ["random"] * 2


def test_what_was_tried_by_others_is_not_proposed_again() -> None:
    past = task_tried("past", 1e-3)
    first, second = Portfolio([past]).suggest(study(), [], 2, 0)
    tried = ended(0, Suggestion(first.config, "random"), 0.1)
    assert Portfolio([past]).suggest(study(), [tried], 1, 0)[0].config == second.config


def test_ranges_choices_and_parameters_may_differ() -> None:
    space = SearchSpace(
        {
            "optimizer": Categorical(("adamw", "lion")),
            "rate": Float(1e-2, 1.0, log=True),
            "warmup": Integer(0, 10),
        }
    )
    knows_warmup = SearchSpace({"rate": Float(1e-5, 1.0, log=True), "warmup": Integer(0, 10)})
    warm = lived(
        RandomSearch(),
        knows_warmup,
        0,
        30,
        lambda space, c: (
            (float(str(c["warmup"])) - 8.0) ** 2 + abs(math.log10(float(str(c["rate"])) / 1e-2))
        ),
    )
    past = [task_tried("past", 1e-3), PastTask(Task("warm"), knows_warmup, tuple(warm))]
    batch = Portfolio(past).suggest(study(space=space), [], 4, 0)
    for suggestion in batch:
        assert suggestion.optimizer == "portfolio"
        space.check(suggestion.config)
    assert batch[0].config["rate"] == pytest.approx(1e-2, rel=0.5)  # moved to the nearest end
    assert batch[0].config["optimizer"] == "adamw"
    assert batch[0].config["warmup"] in (7, 8, 9)  # borrowed


def test_an_unknown_parameter_is_set_to_its_centre() -> None:
    space = SearchSpace({**SPACE.parameters, "new": Float(0.0, 1.0)}, SPACE.when)
    first = Portfolio([task_tried("past", 1e-3)]).suggest(study(space=space), [], 1, 0)[0]
    assert first.config["new"] == 0.5


def test_given_values_are_put_into_the_candidates() -> None:
    portfolio = Portfolio([task_tried("past", 1e-3)])
    some: list[Config] = [{"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.5}]
    for given in some:
        batch = portfolio.suggest(study(), [], 3, 0, given=given)
        assert [s.optimizer for s in batch] == ["portfolio"] * 3
        for suggestion in batch:
            assert all(suggestion.config[name] == wanted for name, wanted in given.items())
            assert 1e-4 < rate_of(suggestion) < 1e-2


def test_a_candidate_that_fits_comes_before_one_that_had_to_be_changed() -> None:
    wide = SearchSpace({**SPACE.parameters, "rate": Float(1e-9, 1e-1, log=True)}, SPACE.when)
    configs: list[Config] = [{"optimizer": "adamw", "rate": rate} for rate in (1e-8, 1e-3, 1e-2)]
    equal = [ended(n, Suggestion(config, "random"), 1.0) for n, config in enumerate(configs)]
    past = PastTask(Task("past"), wide, tuple(equal))
    batch = Portfolio([past]).suggest(study(), [], 3, 0)
    assert [suggestion.config["rate"] for suggestion in batch] == [1e-3, 1e-2, 1e-5]


def test_failures_in_this_study_speak_against_those_who_promised_much() -> None:
    tasks = [task_tried("low", 1e-5), task_tried("high", 1e-1)]
    tasks = [PastTask(Task(past.task.name), past.space, past.trials) for past in tasks]
    trials = [
        ended(
            n,
            Suggestion({"optimizer": "adamw", "rate": 10.0**-n}, "random"),
            float(n),
            TrialState.FAILED if n > 2 else TrialState.COMPLETE,
        )
        for n in (1, 2, 3, 4, 5)
    ]
    suggestion = Portfolio(tasks).suggest(study(), trials, 1, 0)[0]
    assert suggestion.tasks.get("high", 0.0) > 0.5


def test_its_first_trials_beat_those_of_a_search_without_memory() -> None:
    past = [task_tried(f"past{n}", 10.0**-n) for n in (1, 2, 3, 4)]
    first, alone = [], []
    for seed in range(5):
        rate = 10.0 ** -(1.2 + 0.6 * seed)

        def ours(space: SearchSpace, config: Config, rate: float = rate) -> float:
            return value(space, config, rate)

        first.append(min(t.value or 0.0 for t in lived(Portfolio(past), SPACE, seed, 5, ours)))
        alone.append(min(t.value or 0.0 for t in lived(TPE(), SPACE, seed, 10, ours)))
    assert np.median(first) < np.median(alone)


def test_caches_change_nothing() -> None:
    past = past_tasks(SPACES["tree"])
    kept = Portfolio(past)
    trials: list[Trial] = []
    for number in range(6):
        some: list[Config] = [{"optimizer": "sgd"}, {}, {"depth": 1 + number % 4}]
        for given in some:
            expected = Portfolio(past).suggest(study_of(SPACES["tree"]), trials, 1, 0, given)
            assert kept.suggest(study_of(SPACES["tree"]), trials, 1, 0, given) == expected
        trials.append(ended(number, expected[0], float(number)))


def test_settings_are_checked() -> None:
    assert str(Portfolio([])) == "portfolio(size=8) then tpe(startup=10)"
    with pytest.raises(InputError, match="size = 0 must be at least 1"):
        Portfolio([], size=0)
