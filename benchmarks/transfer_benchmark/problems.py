"""One task of a table as a problem: what is known of the others, and what a trial gives."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesRegressor

from metatune.experience.past import PastTask
from metatune.parameters import Categorical, Float, Vectors
from metatune.space import Config, SearchSpace
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState, derive_seed
from transfer_benchmark.tables import SOURCES, Table, load

PROTOCOLS = ("disjoint-pool", "pool", "continuous-disjoint", "continuous")
# Share of the configurations that a past task may show which it does show.
_SHOWN = 0.75

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Change:
    """How the space of the past tasks, or that of the tested one, differs from the table's.

    A past or tested configuration is left out where its space does not contain it.
    """

    past: Callable[[SearchSpace], SearchSpace] = lambda space: space
    tested: Callable[[SearchSpace], SearchSpace] = lambda space: space


def _layers(*choices: int) -> Callable[[SearchSpace], SearchSpace]:
    return lambda space: SearchSpace(
        {**space.parameters, "num_layers": Categorical(choices, ordered=True)}
    )


def _faster(space: SearchSpace) -> SearchSpace:
    return SearchSpace({**space.parameters, "learning_rate": Float(1e-3, 1e-1, log=True)})


def _without_momentum(space: SearchSpace) -> SearchSpace:
    return SearchSpace({n: p for n, p in space.parameters.items() if n != "momentum"})


# Of LCBench alone: names of the experience in which the spaces differ.
CHANGES: Mapping[str, Change] = {
    "range grew": Change(past=_faster),
    "range shrank": Change(tested=_faster),
    "parameter is new": Change(past=_without_momentum),
    "choice is new": Change(past=_layers(1, 2, 3), tested=_layers(1, 2, 3, 4)),
}
# Those of them in which the space that is searched differs from the table's.
RESHAPED = ("range shrank", "choice is new")
HOSTILE = ("shuffled", "inverted")
# Names of scarce experience, and how many past tasks it is; each shows so many trials.
SCARCE: Mapping[str, int] = {
    "1 past task of 40 trials": 1,
    "2 past tasks of 40 trials": 2,
    "4 past tasks of 40 trials": 4,
}
_TRIALS_OF_SCARCE = 40


@dataclass(frozen=True)
class Problem:
    """A task to search, the past tasks, and the pool to choose from: None in the continuous ones.

    `best` and `median` are those of the tested task's configurations, a failed one counting as
    the worst.
    """

    task: Task
    space: SearchSpace
    past: tuple[PastTask, ...]
    candidates: list[Config] | None
    best: float
    median: float
    _vectors: Vectors = field(repr=False)
    _values: Vectors = field(repr=False)
    _trees: ExtraTreesRegressor | None = field(repr=False)

    def regret(self, incumbent: float) -> float:
        """0 at the best value of the tested configurations, 1 at their median and beyond."""
        return min(max((incumbent - self.best) / (self.median - self.best), 0.0), 1.0)

    def evaluate(self, config: Config, tried: set[int]) -> tuple[Config, float]:
        """What is tried in place of `config`, and its value, infinite where it failed.

        In a pool that is the nearest configuration in [0, 1]^d not yet tried, which is then added
        to `tried`.
        """
        vector = self.space.encode(config)
        if self._trees is not None:
            row = vector[None].astype(np.float32)
            trees = self._trees.estimators_
            return config, float(np.mean([t.predict(row, check_input=False) for t in trees]))
        assert self.candidates is not None
        distance = ((self._vectors - vector) ** 2).sum(axis=1)
        distance[list(tried)] = np.inf
        index = int(np.argmin(distance))
        tried.add(index)
        return self.candidates[index], float(self._values[index])


@lru_cache(maxsize=2)
def problem(
    name: str, folder: Path, protocol: str, experience: str, tested: str, seed: int
) -> Problem:
    """Task `tested` of table `name` under a protocol, with true or changed experience."""
    table = load(name, folder)
    change = CHANGES.get(experience, Change())
    space = change.tested(table.space)
    rng = np.random.default_rng([seed, stable_hash(name)])
    shown, own = _halves(table, protocol, rng)
    own = _within(table, own, space)
    past = _past(table, change.past(table.space), shown, experience, rng)
    past = [one for one in past if one.task.name != tested]
    if experience in SCARCE:
        own_rng = np.random.default_rng([seed, stable_hash(tested)])
        past = _scarce(past, SCARCE[experience], own_rng)
    vectors = np.stack([space.encode(table.configs[index]) for index in own])
    values = table.values[tested][own]
    pool = protocol.endswith("pool")
    return Problem(
        task=_task(table, tested),
        space=space,
        past=tuple(past),
        candidates=[table.configs[index] for index in own] if pool else None,
        best=float(values.min()),
        median=float(np.median(values)),
        _vectors=vectors,
        _values=values,
        _trees=None if pool else _interpolation(vectors, values, SOURCES[name].ceiling, seed),
    )


def stable_hash(name: str) -> int:
    """32 bits of a name, the same in every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def _halves(table: Table, protocol: str, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Which configurations past tasks may show, and which the tested task is made of."""
    order = rng.permutation(len(table.configs))
    if "disjoint" not in protocol:
        return np.sort(order), np.sort(order)
    half = len(order) // 2
    return np.sort(order[:half]), np.sort(order[half:])


def _within(table: Table, indices: Indices, space: SearchSpace) -> Indices:
    parameters = space.parameters.items()
    kept = [
        index
        for index in indices
        if all(parameter.contains(table.configs[index][name]) for name, parameter in parameters)
    ]
    return np.asarray(kept, dtype=np.int64)


def _task(table: Table, name: str) -> Task:
    source = SOURCES[table.name]
    return Task(name, source.metric, source.direction)


def _past(
    table: Table, space: SearchSpace, shown: Indices, experience: str, rng: np.random.Generator
) -> list[PastTask]:
    """Every task of the table, each with its own random choice of the configurations `shown`."""
    tasks = []
    for name, values in table.values.items():
        chosen = rng.choice(shown, size=int(_SHOWN * len(shown)), replace=False)
        told = _told(values[chosen], experience, rng)
        value_of = dict(zip(chosen.tolist(), told.tolist(), strict=True))
        kept = _within(table, chosen, space).tolist()
        configs = [{n: table.configs[index][n] for n in space.names} for index in kept]
        trials = [
            past_trial(name, number, config, value_of[index])
            for number, (index, config) in enumerate(zip(kept, configs, strict=True))
        ]
        tasks.append(PastTask(_task(table, name), space, tuple(trials)))
    return tasks


def _scarce(past: list[PastTask], tasks: int, rng: np.random.Generator) -> list[PastTask]:
    """Some of the tasks, with the first of their trials, whose order is random."""
    kept = [past[index] for index in rng.permutation(len(past))[:tasks]]
    return [replace(one, trials=one.trials[:_TRIALS_OF_SCARCE]) for one in kept]


def _told(values: Vectors, experience: str, rng: np.random.Generator) -> Vectors:
    """The values as a past task tells them. Inverted: the best gets the worst one's, and so on."""
    if experience == "shuffled":
        return rng.permutation(values)
    if experience == "inverted":
        order = np.argsort(values, kind="stable")
        told = np.empty_like(values)
        told[order] = values[order[::-1]]
        return told
    return values


def past_trial(study: str, number: int, config: Config, value: float) -> Trial:
    """A finished trial, FAILED where its value is infinite."""
    trial = Trial(study, number, Suggestion(config, "random"), derive_seed(0, number))
    return finished(trial, value)


def finished(trial: Trial, value: float) -> Trial:
    """The trial with its value, lower is better; FAILED where that is infinite."""
    if not math.isfinite(value):
        return replace(trial, state=TrialState.FAILED, finished_index=trial.number)
    state = TrialState.COMPLETE
    return replace(trial, state=state, value=value, finished_index=trial.number)


def _interpolation(
    vectors: Vectors, values: Vectors, ceiling: float, seed: int
) -> ExtraTreesRegressor:
    """Trees through every measured point, so that no value leaves the measured range.

    What lies above the source's `ceiling` is lowered to it, lest one diverged training blow up
    everything around it; a failed training has the worst value then.
    """
    median = float(np.median(values))
    worst = float(values[np.isfinite(values)].max())
    ceiling = min(median + ceiling * (median - float(values.min())), worst)
    trees = ExtraTreesRegressor(
        n_estimators=100, bootstrap=False, min_samples_leaf=1, random_state=seed
    )
    return trees.fit(vectors, np.minimum(values, ceiling))
