"""What one past task says about any configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from metatune.experience.past import PastTask, thinned
from metatune.optimizers.adapt import carry, shared
from metatune.parameters import Value, Vectors
from metatune.space import Config, SearchSpace
from metatune.trial import Trial, TrialState

# The scaled value of what is as bad as can be.
WORST = 2.0
TREES = 32
# Values further from 0 than this count as this far.
LARGEST = 1e100
# A task with more trials is thinned out: its best half of these, and every k-th of the others.
_MOST_TRIALS = 200
_FEWEST_TRIALS = 3


def is_related(past: PastTask, space: SearchSpace) -> bool:
    """Whether there is something to learn from `past` for `space`: a shared parameter, at least
    three trials with a finite value, and one among them that completed."""
    finite = [trial for trial in past.trials if math.isfinite(outcome(trial))]
    complete = any(is_complete(trial) for trial in finite)
    return len(finite) >= _FEWEST_TRIALS and complete and bool(shared(space, past.space))


class TaskSurrogate:
    """Extremely randomised trees (Geurts et al. 2006) over the parameters shared with `space`.

    Values are robustly scaled, so that tasks count alike: 0 is the task's best, 1 its median, and
    2 whatever is as bad or worse than that again, failed trials among them. The trees are grown
    to the end on all trials, so what was measured is predicted as measured. Inactive parameters
    are -1.
    """

    def __init__(self, past: PastTask, space: SearchSpace, seed: int) -> None:
        self.task = past.task
        self._space = SearchSpace({n: past.space.parameters[n] for n in shared(space, past.space)})
        ranked = sorted((t for t in past.trials if t.state.finished), key=outcome)
        values = _scaled(np.asarray([outcome(trial) for trial in ranked]))
        kept = thinned(len(ranked), _MOST_TRIALS)
        self._ranked = [ranked[index] for index in kept]
        self._trees = ExtraTreesRegressor(TREES, random_state=seed)
        self._trees.fit(self._vectors([t.config for t in self._ranked]), values[kept])

    def best(self, count: int) -> list[Config]:
        """The `count` best different configurations that completed, best first."""
        configs = {repr(t.config): t.config for t in self._ranked if is_complete(t)}
        return list(configs.values())[:count]

    def predict(self, configs: Sequence[Mapping[str, Value]]) -> Vectors:
        """Scaled values [n] expected of n configurations of any space."""
        vectors = self._vectors(configs).astype(np.float32)
        # Tree by tree: for a few rows, the forest's own predict takes ten times as long.
        trees = [tree.predict(vectors, check_input=False) for tree in self._trees.estimators_]
        mean: Vectors = np.mean(trees, axis=0)
        return mean

    def _vectors(self, configs: Sequence[Mapping[str, Value]]) -> Vectors:
        vectors = np.asarray([carry(self._space, config) for config in configs])
        return np.where(np.isnan(vectors), -1.0, vectors).reshape(-1, len(self._space))


def outcome(trial: Trial) -> float:
    """The value of a finished trial, infinite where it failed or was no finite number."""
    if trial.state in (TrialState.FAILED, TrialState.RUNNING) or trial.value is None:
        return math.inf
    return trial.value if math.isfinite(trial.value) else math.inf


def is_complete(trial: Trial) -> bool:
    """Whether a trial ran to its end and has a finite value."""
    return trial.state is TrialState.COMPLETE and math.isfinite(outcome(trial))


def _scaled(values: Vectors) -> Vectors:
    finite = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    best, median = finite.min(), float(np.median(finite))
    above = np.clip(values, -LARGEST, LARGEST) - best
    if median <= best:
        return np.where(above > 0.0, WORST, 0.0)
    scaled: Vectors = np.minimum(above / (median - best), WORST)
    return scaled
