from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bowls import SPACE, bowl, tried
from optimizer_cases import best_of, ended, lived, study_of
from test_transfer import experience

from metatune.optimizers.proposal import Choices, Proposal
from metatune.optimizers.transfer import Transfer
from metatune.parameters import Float
from metatune.space import Config, SearchSpace
from metatune.trial import Suggestion, Trial

LINE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


@pytest.mark.parametrize("learned", [True, False])
def test_candidates_are_proposed_once_each_and_nothing_else(learned: bool) -> None:
    candidates = [SPACE.sample(np.random.default_rng(n)) for n in range(12)]
    optimizer = Transfer(experience() if learned else [], candidates)
    trials = lived(optimizer, SPACE, 0, 13, bowl(100).value)
    configs = [trial.config for trial in trials]
    assert sorted(map(repr, configs[:12])) == sorted(map(repr, candidates))
    assert configs[12] in candidates
    values = [bowl(100).value(SPACE, config) for config in candidates]
    best = configs.index(candidates[int(np.argmin(values))])
    if learned:
        expected = experience().values(experience().features.of(candidates)).mean(axis=0)
        assert configs[0] == candidates[int(np.argmin(expected))]
        assert best < 3


def test_candidates_that_are_all_tried_are_proposed_again_unless_they_run() -> None:
    candidates = [SPACE.sample(np.random.default_rng(n)) for n in range(4)]
    optimizer = Transfer([], candidates)
    trials = [ended(n, Suggestion(c, "random"), float(n)) for n, c in enumerate(candidates[:3])]
    running = Trial("study", 3, Suggestion(candidates[3], "random"), 0)
    proposed = optimizer.suggest(study_of(SPACE), [*trials, running], 3, 0)
    assert sorted(repr(s.config) for s in proposed) == sorted(map(repr, candidates[:3]))


def test_predictions_are_in_units_of_the_task() -> None:
    value = replace(bowl(100), unit=50.0).value
    trials = lived(Transfer(experience()), SPACE, 0, 20, lambda s, c: value(s, c) + 1000.0)
    assert [trial.number for trial in trials if trial.suggestion.predicted is None] == [0, 1]
    errors = [
        abs(trial.suggestion.predicted - trial.value) / trial.suggestion.uncertainty
        for trial in trials[5:]
        if trial.suggestion.predicted and trial.suggestion.uncertainty and trial.value
    ]
    assert len(errors) == 15
    assert np.median(errors) < 2.0


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_experience_counts_by_its_weight(weight: float) -> None:
    proposal = Proposal(Choices(experience(), study_of(SPACE), 0, {}, None), [], 0)
    assert proposal.weight == 1.0
    proposal.weight = weight
    improvements = np.asarray([[1.0, 2.0, 4.0], [0.0, 30.0, 10.0], [5e-9, 1e-9, 0.0]])
    expected = weight * np.asarray([0.125, 0.75, 2.0 / 3.0])
    expected = expected + (1.0 - weight) * np.asarray([1.0, 0.2, 0.0])
    assert proposal._scores(improvements) == pytest.approx(expected)


def two_valleys(space: SearchSpace, config: Config) -> float:
    x, y = (float(config[name] or 0.0) for name in "xy")
    return min((x - 0.2) ** 2, (x - 0.8) ** 2) + 0.3 * (y - 0.5) ** 2


def test_of_two_regions_that_are_as_good_the_cheaper_is_preferred() -> None:
    def cost(config: Config) -> float:
        return 1.0 if float(config["x"] or 0.0) < 0.5 else 5.0

    costs: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(4):
        known = tried(LINE, two_valleys, seed, 14)
        known = [replace(trial, cost=cost(trial.config)) for trial in known]
        for per_cost, found in costs.items():
            optimizer = Transfer([], per_cost=per_cost)
            suggestions = optimizer.suggest(study_of(LINE, seed), known, 6, seed)
            found += [cost(suggestion.config) for suggestion in suggestions]
    cheap, either = (np.mean(np.asarray(costs[key]) == 1.0) for key in (True, False))
    assert cheap > 0.65
    assert 0.2 < either < 0.55


def test_costs_not_known_change_nothing() -> None:
    """Those of trials that failed or still run tell nothing either."""
    known = tried(LINE, two_valleys, 0, 9)
    known = [replace(trial, cost=float(9 - trial.number)) for trial in known]
    broken = [*known[:4], *(ended(n, known[n].suggestion, float("nan")) for n in range(4, 9))]
    expected = Transfer([]).suggest(study_of(LINE), broken, 2, 0)
    assert Transfer([], per_cost=True).suggest(study_of(LINE), broken, 2, 0) == expected


def test_many_in_parallel_look_in_different_places() -> None:
    known = tried(LINE, two_valleys, 0, 10)
    suggestions = Transfer([]).suggest(study_of(LINE), known, 8, 0)
    vectors = np.stack([LINE.encode(suggestion.config) for suggestion in suggestions])
    distances = np.abs(vectors[:, None] - vectors[None]).max(-1) + np.eye(8)
    assert distances.min() > 0.005
    assert len({float(v[0]) < 0.5 for v in vectors}) == 2, "in both valleys"


def test_of_many_trials_the_best_are_not_forgotten() -> None:
    known = tried(LINE, two_valleys, 0, 620)
    best = min(known, key=lambda trial: trial.value or 0.0)
    suggestion = Transfer([]).suggest(study_of(LINE), known, 1, 0)[0]
    assert two_valleys(LINE, suggestion.config) < 10.0 * two_valleys(LINE, best.config) + 1e-3
    assert suggestion.config not in [trial.config for trial in known]


def test_alone_it_starts_evenly_and_then_learns() -> None:
    trials = lived(Transfer([]), LINE, 0, 25, two_valleys)
    first = np.stack([LINE.encode(trial.config) for trial in trials[:4]])
    assert {tuple(row) for row in (first >= 0.5).tolist()} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert best_of(trials) < 1e-3
