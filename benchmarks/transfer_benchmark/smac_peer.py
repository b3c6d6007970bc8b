"""SMAC3 (Lindauer et al. 2022), which needs the extra `peers`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from ConfigSpace.hyperparameters import Hyperparameter
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue
from smac.runhistory.enumerations import StatusType

from metatune.optimizers.adapt import nearest
from metatune.optimizers.optimizer import in_sequence
from metatune.optimizers.task_surrogate import outcome
from metatune.parameters import Categorical, Integer, Parameter, Value
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial

# What its initial design is a share of.
_BUDGET = 100


@dataclass(frozen=True)
class SMAC:
    """SMAC3's random forests with expected improvement, asked and told, for one run in order.

    What is told is the configuration that was tried, which in a pool is not the one asked for.
    """

    _kept: dict[str, _Told] = field(default_factory=dict, init=False, repr=False)

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer."""
        told = self._kept.setdefault(study.name, _Told(study.space, seed))

        def propose(known: Sequence[Trial], _: int) -> Suggestion:
            return told.ask(known)

        return in_sequence(propose, study, trials, count, seed)


class _Told:
    """A running SMAC, and how many trials it has been told."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._configurations = ConfigurationSpace(seed=seed)
        self._configurations.add(*[_as_smac(n, p) for n, p in space.parameters.items()])
        self._folder = tempfile.TemporaryDirectory(prefix="smac-")
        scenario = Scenario(
            self._configurations,
            deterministic=True,
            n_trials=_BUDGET,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        self._facade = HyperparameterOptimizationFacade(
            scenario, lambda config, seed: 0.0, logging_level=False, overwrite=True
        )
        self._count = 0
        self._seed_of_runs: int | None = None
        self._worst: float | None = None

    def ask(self, trials: Sequence[Trial]) -> Suggestion:
        """Tell the trials that are new, and ask for the next."""
        for trial in trials[self._count :]:
            self._tell(trial)
        self._count = len(trials)
        asked = self._facade.ask()
        self._seed_of_runs = asked.seed
        values = dict(asked.config)
        return Suggestion(
            self._space.build(lambda name, parameter: nearest(parameter, plain(values[name]))),
            "smac",
        )

    def _tell(self, trial: Trial) -> None:
        """A failed trial has the worst value so far, or 0 if it is the first."""
        cost = outcome(trial)
        if math.isfinite(cost):
            self._worst = cost if self._worst is None else max(cost, self._worst)
        status = StatusType.SUCCESS if math.isfinite(cost) else StatusType.CRASHED
        told = cost if math.isfinite(cost) else self._worst or 0.0
        info = TrialInfo(
            Configuration(self._configurations, values=dict(trial.config)), seed=self._seed_of_runs
        )
        self._facade.tell(info, TrialValue(told, status=status), save=False)


def _as_smac(name: str, parameter: Parameter) -> Hyperparameter:
    if isinstance(parameter, Categorical):
        kind = OrdinalHyperparameter if parameter.ordered else CategoricalHyperparameter
        return kind(name, list(parameter.choices))
    integer = isinstance(parameter, Integer)
    kind = UniformIntegerHyperparameter if integer else UniformFloatHyperparameter
    return kind(name, parameter.low, parameter.high, log=parameter.log)


def plain(value: Any) -> Value:
    """A Python value from one of numpy's."""
    python: Value = value.item() if isinstance(value, np.generic) else value
    return python
