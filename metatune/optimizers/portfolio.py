"""A portfolio of configurations that were good on past tasks, tried before anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from metatune.errors import InputError
from metatune.experience.past import PastTask
from metatune.optimizers.adapt import carried_over
from metatune.optimizers.optimizer import MetaOptimizer, in_sequence
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.random import check_given
from metatune.optimizers.similarity import evidence, prior_weights
from metatune.optimizers.task_surrogate import WORST, TaskSurrogate, is_related, outcome
from metatune.parameters import Value, Vectors
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial, derive_seed

_NAME = "portfolio"
# How many of each past task's best configurations are considered.
_CANDIDATES = 10
# How far a configuration is set back that is changed altogether, where best to median is 1.
_CHANGE = 0.1
# Panels kept at a time: there is one for each set of given values.
_KEPT = 16


@dataclass(frozen=True)
class Portfolio:
    """Greedy zero-shot portfolio (Wistuba et al. 2015; Feurer et al. 2022), then `then`.

    Candidates are the best configurations of each related past task, carried over into the space
    that is searched, with `given` values put in. Each past task values every candidate as
    measured, or else as its surrogate predicts: 0 is the task's best, 1 its median. Proposed is
    the candidate that most lowers the weighted mean, over the past tasks, of the best value that
    anything tried has there. A past task weighs more the more its metafeatures are like this
    task's, and the better it predicts the order of the values that this study has seen.

    `size` configurations are proposed in this way and the rest by `then`, as is everything where
    no past task is related. The `tasks` of a suggestion are the past tasks on which it is better
    than what was tried before, weighted by how much.
    """

    past: Sequence[PastTask] = field(repr=False)
    size: int = 8
    then: MetaOptimizer = field(default_factory=TPE)
    _surrogates: dict[str, list[TaskSurrogate]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _panels: dict[str, _Panel] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"size = {self.size!r} must be at least 1")

    def __str__(self) -> str:
        return f"{_NAME}(size={self.size}) then {self.then}"

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer; raises ConfigurationError where `given` does not fit the space."""
        check_given(study.space, given)

        def propose(known: Sequence[Trial], _: int) -> Suggestion:
            proposed = sum(trial.suggestion.optimizer == _NAME for trial in known)
            if proposed < self.size:
                pick = self._panel(study.space, seed, given).pick(study, known)
                if pick is not None:
                    return pick
            return self.then.suggest(study, known, 1, seed, given)[0]

        return in_sequence(propose, study, trials, count, seed)

    def _panel(self, space: SearchSpace, seed: int, given: Mapping[str, Value]) -> _Panel:
        fitted = f"{space.id} {seed}"
        if fitted not in self._surrogates:
            related = [past for past in self.past if is_related(past, space)]
            self._surrogates[fitted] = [
                TaskSurrogate(past, space, derive_seed(seed, index))
                for index, past in enumerate(related)
            ]
        key = f"{fitted} {sorted(given.items())!r}"
        if key not in self._panels:
            if len(self._panels) == _KEPT:
                self._panels.clear()
            self._panels[key] = _Panel(self._surrogates[fitted], space, given)
        return self._panels[key]


class _Panel:
    """The past tasks in council over the candidates for one space and one set of given values."""

    def __init__(
        self, surrogates: Sequence[TaskSurrogate], space: SearchSpace, given: Mapping[str, Value]
    ) -> None:
        self._surrogates = surrogates
        best = [config for surrogate in surrogates for config in surrogate.best(_CANDIDATES)]
        changes = carried_over(space, best, given)
        self._configs = [config for config, _ in changes]
        self._changed = np.asarray([changed for _, changed in changes])
        self._values = self._predict(self._configs)

    def pick(self, study: Study, trials: Sequence[Trial]) -> Suggestion | None:
        """The candidate to try next, or None where all have been tried."""
        tried = [trial.config for trial in trials]
        left = [index for index, config in enumerate(self._configs) if config not in tried]
        if not left:
            return None
        weights = self._weights(study, trials)
        reached = self._predict(tried).min(axis=1, initial=WORST)
        values = self._values[:, left]
        reaches = np.minimum(values, reached[:, None])
        objective = weights @ reaches + _CHANGE * self._changed[left]
        first = np.lexsort((weights @ values, objective))[0]
        gains = weights * (reached - reaches[:, first])
        return Suggestion(
            self._configs[left[first]], _NAME, self._by_task(gains if gains.any() else weights)
        )

    def _weights(self, study: Study, trials: Sequence[Trial]) -> Vectors:
        seen = [trial for trial in trials if trial.state.finished]
        observed = np.asarray([outcome(trial) for trial in seen])
        prior = prior_weights(study.task, [surrogate.task for surrogate in self._surrogates])
        weights = prior * evidence(self._predict([trial.config for trial in seen]), observed)
        normalised: Vectors = weights / weights.sum()
        return normalised

    def _predict(self, configs: Sequence[Config]) -> Vectors:
        """Scaled values [tasks, n] of n configurations."""
        if not configs or not self._surrogates:
            return np.empty((len(self._surrogates), len(configs)))
        return np.stack([surrogate.predict(configs) for surrogate in self._surrogates])

    def _by_task(self, weights: Vectors) -> dict[str, float]:
        shares: dict[str, float] = {}
        for surrogate, share in zip(self._surrogates, weights / weights.sum(), strict=True):
            if share > 0.0:
                name = surrogate.task.name
                shares[name] = shares.get(name, 0.0) + float(share)
        return shares
