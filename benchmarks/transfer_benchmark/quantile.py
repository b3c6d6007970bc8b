"""Quantile transfer of Syne Tune, which needs the extra `peers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.schedulers.transfer_learning.quantile_based.quantile_based_searcher import (  # noqa: E501
    QuantileBasedSurrogateSearcher,
)
from syne_tune.optimizer.schedulers.transfer_learning.transfer_learning_task_evaluation import (
    TransferLearningTaskEvaluations,
)

from metatune.experience.past import PastTask
from metatune.optimizers.adapt import nearest
from metatune.optimizers.optimizer import in_sequence
from metatune.optimizers.task_surrogate import outcome
from metatune.parameters import Categorical, Integer, Parameter, Value
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial

_METRIC = "value"


@dataclass(frozen=True)
class Quantile:
    """Copula Thompson sampling (Salinas, Shen, Perrone 2020) as Syne Tune has it.

    In a pool, its 100,000 random candidates are replaced by the untried of the pool.
    """

    past: Sequence[PastTask] = field(repr=False)
    pool: Sequence[Config] | None = field(repr=False)
    _kept: dict[str, QuantileBasedSurrogateSearcher] = field(
        default_factory=dict, init=False, repr=False
    )

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer."""
        if study.space.id not in self._kept:
            self._kept[study.space.id] = self._searcher(study.space, seed)
        searcher = self._kept[study.space.id]

        def propose(known: Sequence[Trial], seed_of_call: int) -> Suggestion:
            searcher.random_state = np.random.RandomState(seed_of_call)
            if self.pool is not None:
                tried = {repr(trial.config) for trial in known}
                done = np.asarray([repr(config) in tried for config in self.pool])
                searcher.mu_pred = np.where(done[:, None], np.inf, searcher.mu_pred)
            return Suggestion(_config(study.space, searcher.suggest()), "quantile")

        return in_sequence(propose, study, trials, count, seed)

    def _searcher(self, space: SearchSpace, seed: int) -> QuantileBasedSurrogateSearcher:
        with redirect_stdout(StringIO()):  # it prints how long it takes
            searcher = QuantileBasedSurrogateSearcher(
                _domains(space), _evaluations(self.past, space), random_seed=seed
            )
        if self.pool is not None:
            searcher.X_candidates = pd.DataFrame(list(self.pool))
            searcher.mu_pred = searcher.model_pipeline.predict(searcher.X_candidates)[:, None]
            searcher.sigma_pred = np.full_like(searcher.mu_pred, searcher.sigma_pred[0, 0])
        return searcher


def _evaluations(
    past: Sequence[PastTask], space: SearchSpace
) -> dict[str, TransferLearningTaskEvaluations]:
    """Each past task's trials; a failed one has the worst value of its task."""
    evaluations = {}
    for task in past:
        values = np.asarray([outcome(trial) for trial in task.trials])
        values = np.minimum(values, values[np.isfinite(values)].max())
        middle = {name: p.from_unit(0.5) for name, p in space.parameters.items()}
        configs = [{**middle, **trial.config} for trial in task.trials]
        evaluations[task.task.name] = TransferLearningTaskEvaluations(
            _domains(space), pd.DataFrame(configs), [_METRIC], values[:, None, None, None]
        )
    return evaluations


def _domains(space: SearchSpace) -> dict[str, Any]:
    return {name: _domain(parameter) for name, parameter in space.parameters.items()}


def _domain(parameter: Parameter) -> Any:
    if isinstance(parameter, Categorical):
        return choice(list(parameter.choices))
    if isinstance(parameter, Integer):
        return (lograndint if parameter.log else randint)(parameter.low, parameter.high)
    return (loguniform if parameter.log else uniform)(parameter.low, parameter.high)


def _config(space: SearchSpace, values: Mapping[str, Any]) -> Config:
    """A configuration from a row of a data frame, whose whole numbers are floats."""
    return space.build(lambda name, parameter: nearest(parameter, float(values[name])))
