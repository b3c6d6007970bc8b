"""A portfolio of configurations that were good on past tasks, tried before anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from metatune.errors import InputError
from metatune.experience.past import PastTask
from metatune.optimizers.adapt import carry, nearest, understands
from metatune.optimizers.optimizer import MetaOptimizer, in_sequence
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.random import check_given
from metatune.optimizers.similarity import evidence, prior_weights
from metatune.optimizers.task_surrogate import WORST, TaskSurrogate, is_related, outcome
from metatune.parameters import Categorical, Parameter, Value, Vectors
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
        changes = _carried_over(space, best, given)
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


def _carried_over(
    space: SearchSpace, configs: Sequence[Config], given: Mapping[str, Value]
) -> list[tuple[Config, float]]:
    """Different configurations of `space`, each with the share of its parameters that had to be
    changed: set to the given value, moved into the range, or filled in.

    A parameter that a configuration lacks, or whose choice is unknown, is filled in from the most
    similar configuration that has it, or else with the centre of its range.
    """
    vectors = np.asarray([carry(space, config) for config in configs])
    found: dict[str, tuple[Config, float]] = {}
    for row, config in enumerate(configs):
        made = _fitted(space, config, given, partial(_borrowed, space, vectors, row))
        changes = sum(name not in config or config[name] != value for name, value in made.items())
        share = changes / len(made)
        if repr(made) not in found or share < found[repr(made)][1]:
            found[repr(made)] = made, share
    return list(found.values())


def _fitted(
    space: SearchSpace,
    config: Config,
    given: Mapping[str, Value],
    borrowed: Callable[[str], float],
) -> Config:
    """`config` in `space`: given values first, then its own, then borrowed positions."""

    def choose(name: str, parameter: Parameter) -> Value:
        if name in given:
            return given[name]
        if name in config and understands(parameter, config[name]):
            return nearest(parameter, config[name])
        return parameter.from_unit(borrowed(name))

    return space.build(choose)


def _borrowed(space: SearchSpace, vectors: Vectors, row: int, name: str) -> float:
    """Position of parameter `name` in the vector most similar to that of `row` among those [n, d]
    that have it, by the mean difference over common parameters, where choices differ or not; the
    centre where none has it."""
    difference = np.abs(vectors - vectors[row])
    choices = [isinstance(p, Categorical) and not p.ordered for p in space.parameters.values()]
    difference[:, choices] = np.ceil(difference[:, choices])
    common = ~np.isnan(difference)
    total = np.where(common, difference, 0.0).sum(axis=1)
    distance = np.where(common.any(axis=1), total / np.maximum(common.sum(axis=1), 1), 1.0)
    positions = vectors[:, space.names.index(name)]
    distance[np.isnan(positions)] = np.inf
    most_similar = int(np.argmin(distance))
    return float(positions[most_similar]) if np.isfinite(distance[most_similar]) else 0.5
