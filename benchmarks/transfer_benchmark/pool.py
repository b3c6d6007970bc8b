"""Peers that choose among a pool of configurations, or among those that past tasks tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from metatune.experience.past import PastTask
from metatune.optimizers.adapt import carry
from metatune.optimizers.optimizer import MetaOptimizer, in_sequence
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.task_surrogate import outcome
from metatune.parameters import Value, Vectors
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial, derive_seed

_TREES = 50


@dataclass(frozen=True)
class PoolRandom:
    """Random search among the untried configurations of a pool, or in the whole space."""

    pool: Sequence[Config] | None = field(repr=False)

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer."""

        def propose(known: Sequence[Trial], _: int) -> Suggestion:
            assert self.pool is not None
            order = np.random.default_rng(seed).permutation(len(self.pool))
            return Suggestion(self.pool[order[len(known)]], "random")

        if self.pool is None:
            return RandomSearch().suggest(study, trials, count, seed, given)
        return in_sequence(propose, study, trials, count, seed)


@dataclass(frozen=True)
class GreedyPortfolio:
    """Greedy zero-shot portfolio (Wistuba et al. 2015), then `then` after `size` trials.

    Trees fitted to every trial of each past task value every configuration of the pool, or where
    there is none everything that past tasks tried: 0 is a task's best, 1 its median and beyond.
    Proposed is what most lowers the mean over past tasks of the best value so far, whatever this
    task's trials showed.
    """

    past: Sequence[PastTask] = field(repr=False)
    pool: Sequence[Config] | None = field(repr=False)
    size: int = 100
    then: MetaOptimizer | None = None
    _kept: dict[str, list[Config]] = field(default_factory=dict, init=False, repr=False)

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
            self._kept[study.space.id] = self._chosen(study.space, seed)
        chosen = self._kept[study.space.id]

        def propose(known: Sequence[Trial], _: int) -> Suggestion:
            if len(known) < self.size or self.then is None:
                return Suggestion(chosen[len(known)], "portfolio")
            return self.then.suggest(study, known, 1, seed)[0]

        return in_sequence(propose, study, trials, count, seed)

    def _chosen(self, space: SearchSpace, seed: int) -> list[Config]:
        tried = {repr(t.config): t.config for past in self.past for t in past.trials}
        pool = list(tried.values()) if self.pool is None else list(self.pool)
        vectors = np.stack([carry(space, config) for config in pool])
        complete = ~np.isnan(vectors).any(axis=1)
        values = np.stack(
            [
                _valued(past, space, vectors, derive_seed(seed, index))
                for index, past in enumerate(self.past)
            ]
        )
        values[:, ~complete] = np.inf
        reached = np.ones(len(self.past))
        chosen: list[int] = []
        for _ in range(min(self.size, len(pool))):
            means = np.minimum(values, reached[:, None]).mean(axis=0)
            means[chosen] = np.inf
            best = int(np.lexsort((values.mean(axis=0), means))[0])
            chosen.append(best)
            reached = np.minimum(reached, values[:, best])
        return [space.check(pool[index]) for index in chosen]


def _valued(past: PastTask, space: SearchSpace, vectors: Vectors, seed: int) -> Vectors:
    """What the trees of a past task expect of configurations [n, d], scaled."""
    known = np.asarray([carry(space, trial.config) for trial in past.trials])
    values = np.asarray([outcome(trial) for trial in past.trials])
    best, median = float(values.min()), float(np.median(values))
    regrets = np.clip((values - best) / (median - best), 0.0, 1.0)
    trees = ExtraTreesRegressor(_TREES, random_state=seed)
    trees.fit(np.nan_to_num(known, nan=-1.0), regrets)
    lacking = np.isnan(known).all(axis=0)
    asked = np.where(lacking, -1.0, vectors)
    expected: Vectors = trees.predict(np.nan_to_num(asked, nan=-1.0))
    return expected
