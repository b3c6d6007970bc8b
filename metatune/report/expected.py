"""The best value that other ways of searching would be expected to have after n trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from metatune.optimizers.optuna_samplers import TPE
from metatune.parameters import Vectors
from metatune.report.task_model import TaskModel
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.trial import Trial, TrialState, derive_seed

RUNS = 5
MOST_SIMULATED = 60
_QUANTILES = (0.1, 0.5, 0.9)
_CONFIGURATIONS = 2000
_DRAWS_OF_EACH = 4


@dataclass(frozen=True)
class Expected:
    """The best value after 1, 2, ... trials, lower is better, infinite where there is none yet:
    `low`, `middle` and `high`, each [n]."""

    low: Vectors
    middle: Vectors
    high: Vectors


def best_of_draws(values: Sequence[float] | Vectors, count: int) -> Expected:
    """The 10, 50 and 90 % quantiles of the best of 1, ..., `count` independent draws from `values`.

    The best of n exceeds x with probability (1 - F(x))^n, so its quantile at q is that of F at
    1 - (1 - q)^(1/n) (Dodge et al. 2019, Show Your Work).
    """
    ranked = np.sort(np.asarray(values, dtype=float))
    draws = np.arange(1, count + 1)
    low, middle, high = (
        ranked[np.ceil((1.0 - (1.0 - q) ** (1.0 / draws)) * len(ranked)).astype(int) - 1]
        for q in _QUANTILES
    )
    return Expected(low, middle, high)


def modelled_random(model: TaskModel, space: SearchSpace, count: int, seed: int) -> Expected:
    """What random search would give after up to `count` trials on a model of the task."""
    rng = np.random.default_rng(seed)
    configs = [space.sample(rng) for _ in range(_CONFIGURATIONS)]
    scores = [model.draw(configs, rng) for _ in range(_DRAWS_OF_EACH)]
    return best_of_draws(model.measured(np.concatenate(scores)), count)


def modelled_tpe(model: TaskModel, study: Study, count: int, seed: int) -> Expected:
    """The best, middle and worst of RUNS runs of TPE without memory on a model of the task."""
    count = min(count, MOST_SIMULATED)
    runs = [_run(model, study, count, derive_seed(seed, run)) for run in range(RUNS)]
    best = np.minimum.accumulate(np.asarray(runs), axis=1)
    low, middle, high = (model.measured(np.sort(best, axis=0)[row]) for row in (0, RUNS // 2, -1))
    return Expected(low, middle, high)


def _run(model: TaskModel, study: Study, count: int, seed: int) -> list[float]:
    """The scores of `count` trials, one after the other."""
    rng = np.random.default_rng(seed)
    optimizer = TPE()
    trials: list[Trial] = []
    scores: list[float] = []
    for number in range(count):
        suggestion = optimizer.suggest(study, trials, 1, seed)[0]
        score = float(model.draw([suggestion.config], rng)[0])
        made = Trial(study.name, number, suggestion, seed, finished_index=number)
        trials.append(replace(made, state=TrialState.COMPLETE, value=score))
        scores.append(score)
    return scores
