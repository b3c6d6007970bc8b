"""How any configuration would have done on one past task, on a scale common to all tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from metatune.experience.past import PastTask, thinned
from metatune.optimizers.adapt import shared
from metatune.optimizers.features import Features
from metatune.optimizers.gaussian_process import GaussianProcess, Kernel, fit_kernel
from metatune.optimizers.task_surrogate import LARGEST, TREES, WORST, is_complete, outcome
from metatune.parameters import Vectors
from metatune.space import Config, SearchSpace
from metatune.task import Task

# Trials that the trees, the Gaussian process and the search for its kernel see at most.
MOST_TRIALS = 1000
_MOST_POINTS = 400
_MOST_FITTED = 200
# Best trials that ran to their end which are kept in any case.
_FIRST = 10
# Distances from best to median that are told from none.
_LEAST = 1e-200


@dataclass(frozen=True)
class Sample:
    """Trials of a past task, best first: what is kept of it.

    `points` [n, d] are features in the space that is searched, of which its own space shares
    `columns`; `labels` [n] are scaled as `scaled` says; `complete` [n] tells which trials ran to
    their end.
    """

    task: Task
    configs: list[Config]
    points: Vectors
    labels: Vectors
    complete: Vectors
    columns: list[int]


def sample(past: PastTask, space: SearchSpace, features: Features) -> Sample:
    """The best half of `MOST_TRIALS` finished trials, every k-th of the others, and the best that
    ran to their end."""
    ranked = sorted((trial for trial in past.trials if trial.state.finished), key=outcome)
    labels = scaled(np.asarray([outcome(trial) for trial in ranked]), past.median)
    finished = [row for row, trial in enumerate(ranked) if is_complete(trial)]
    kept = sorted({*thinned(len(ranked), MOST_TRIALS), *finished[:_FIRST]})
    configs = [ranked[index].config for index in kept]
    complete = [is_complete(ranked[index]) for index in kept]
    columns = features.columns(shared(space, past.space))
    points = features.of(configs)
    return Sample(past.task, configs, points, labels[kept], np.asarray(complete), columns)


class PastSurrogate:
    """The mean of extremely randomised trees (Geurts et al. 2006), which give back what was
    measured, and a Gaussian process, which is smooth between."""

    def __init__(self, sample: Sample, seed: int, kernel: Kernel | None = None) -> None:
        self.sample, self.seed = sample, seed
        self._trees = ExtraTreesRegressor(TREES, random_state=seed)
        own = sample.points[:, sample.columns]
        self._trees.fit(own, sample.labels)
        kept = thinned(len(sample.labels), _MOST_POINTS)
        self._spread = max(float(sample.labels[kept].std()), 1e-3)
        values = sample.labels[kept] / self._spread
        self.kernel = kernel or _fitted(own[kept], values, seed)
        self._process = GaussianProcess(own[kept], values, self.kernel)

    def predict(self, points: Vectors) -> Vectors:
        """Scaled values [n] expected at n rows of features of the space that is searched, each the
        same whatever the others, to the bit."""
        own = np.ascontiguousarray(points[:, self.sample.columns])
        rows = own.astype(np.float32)
        # Grown trees one by one: of few rows, the forest's own predict takes ten times as long.
        trees = np.zeros(len(points))
        for tree in self._trees.estimators_:
            trees += tree.tree_.predict(rows)[:, 0]
        smooth: Vectors = self._process.predict_mean(own) * self._spread
        return 0.5 * (trees / TREES) + 0.5 * smooth


def _fitted(points: Vectors, values: Vectors, seed: int) -> Kernel:
    chosen = np.random.default_rng(seed).permutation(len(values))[:_MOST_FITTED]
    return fit_kernel(points[chosen], values[chosen])


def scaled(values: Vectors, median: float | None = None) -> Vectors:
    """Labels [n] of values that are lower-is-better and may be infinite: 0 for the best, 1 for
    the median, beyond it nearing 2, which is what infinite ones get. The median is that of the
    finite values, unless they are a sample and it is given."""
    finite = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    best, median = finite.min(), float(np.median(finite)) if median is None else median
    above = np.clip(values, -LARGEST, LARGEST) - best
    if median <= best:
        return np.where(above > 0.0, WORST, 0.0)
    labels = squashed(above / max(median - best, _LEAST))
    return np.where(np.isfinite(values), labels, WORST)


def squashed(labels: Vectors) -> Vectors:
    """Labels with those above 1 drawn towards 2."""
    low = np.minimum(labels, 1.0)
    result: Vectors = low + 1.0 - np.exp(low - labels)
    return result
