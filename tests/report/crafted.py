"""Studies to report on: crafted ones, and searches that really ran on an analytic function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from metatune.experience.store import ExperienceStore
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.random import RandomSearch
from metatune.parameters import Categorical, Float, Integer
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Report, Task
from metatune.trial import Suggestion, Trial, TrialState, derive_seed

SPACE = SearchSpace(
    {
        "optimizer": Categorical(("sgd", "adamw")),
        "learning_rate": Float(1e-5, 1e-1, log=True),
        "momentum": Float(0.0, 0.99),
        "layers": Integer(1, 6),
        "norm": Categorical((None, True, False)),
    },
    {"momentum": {"optimizer": ("sgd",)}},
)
TASK = Task("bowl", metric="loss", measure="best")
EVIL = "<script>alert('&amp;')</script> & \"x\" <b>%{y}</b>"


def make_study(
    name: str = "s", task: Task = TASK, space: SearchSpace = SPACE, **values: Any
) -> Study:
    """A study with versions, as one that was searched has."""
    defaults: dict[str, Any] = {"seed": 1, "trials": 40, "versions": {"metatune": "0.1.0"}}
    return Study(name, task, space, **{**defaults, **values})


def loss(config: Config) -> float:
    """A bowl over the logarithm of the learning rate and the number of layers."""
    rate, layers = config["learning_rate"], config["layers"]
    assert isinstance(rate, float)
    assert isinstance(layers, int)
    off = 0.1 if config["optimizer"] == "sgd" else 0.0
    return 0.2 + (math.log10(rate) + 2.5) ** 2 / 4 + 0.05 * (layers - 4) ** 2 + off


def ended(study: Study, number: int, suggestion: Suggestion, steps: int = 8) -> Trial:
    """A trial as training would have ended it: every seventh failed, every fifth pruned."""
    seed = derive_seed(study.seed, number)
    end = loss(suggestion.config)
    curve = [Report(s, study.task.flip(end * (1 + 2 / s)), 0.1 * s) for s in range(1, steps + 1)]
    trial = Trial(study.name, number, suggestion, seed, finished_index=number, cost=0.1 * steps)
    if number % 7 == 6:
        error = f"Traceback (most recent call last):\n  ...\nValueError: diverged {EVIL}"
        return replace(trial, state=TrialState.FAILED, error=error, curve=tuple(curve[:2]))
    if number % 5 == 4:
        kept = tuple(curve[:3])
        value = study.task.value(kept)
        return replace(trial, state=TrialState.PRUNED, curve=kept, value=value, cost=0.3)
    value = study.task.value(curve)
    return replace(trial, state=TrialState.COMPLETE, curve=tuple(curve), value=value)


def searched(
    study: Study, count: int, optimizer: MetaOptimizer | None = None, steps: int = 8
) -> list[Trial]:
    """`count` trials of a study, one after the other."""
    proposer = optimizer or RandomSearch()
    trials: list[Trial] = []
    for number in range(count):
        inward = [trial.inward(study.task) for trial in trials]
        suggestion = proposer.suggest(study, inward, 1, study.seed)[0]
        trials.append(ended(study, number, suggestion, steps))
    return trials


def remembered(trials: Sequence[Trial], seed: int = 0) -> list[Trial]:
    """The trials as if three past tasks had spoken, values predicted, and the guard stepped in."""
    rng = np.random.default_rng(seed)
    told = []
    for trial in trials:
        share = float(rng.uniform(0.3, 1.0))
        tasks = {"past & <1>": share * 0.6, "past 2": share * 0.3, "past 3": share * 0.1}
        expected = loss(trial.config) + float(rng.normal(0, 0.1))
        suggestion = replace(
            trial.suggestion,
            optimizer="transfer",
            tasks=tasks,
            predicted=expected,
            uncertainty=0.1,
            guarded=share < 0.5,
        )
        told.append(replace(trial, suggestion=suggestion, population=f"p{trial.number // 8}"))
    return told


def kept(store: ExperienceStore, study: Study, trials: Sequence[Trial]) -> ExperienceStore:
    """The store once it has the study and its trials."""
    store.put_study(study)
    store.append(trials)
    return store
