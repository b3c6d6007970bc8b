"""What any configuration would have measured on a task, estimated from trials of that task alone.

Values are told by their ranks, as normal scores, so that neither the scale nor a few very bad
trials count. Extremely randomised trees (Geurts et al. 2006), each grown on a bootstrap sample,
predict the score of a configuration. By how much they are wrong shows in the trials that a tree
was not grown on: such errors, drawn at random, are added to what is predicted. Otherwise all
would look alike that the trees know little about, and the best of many draws too bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.stats import norm, rankdata, spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from metatune.optimizers.features import Features
from metatune.optimizers.task_surrogate import LARGEST, outcome
from metatune.optimizers.threads import one_thread
from metatune.parameters import Vectors
from metatune.space import Config, SearchSpace
from metatune.trial import Trial

FEWEST_TRIALS = 12
_TREES = 64


class TaskModel(Protocol):
    """Knows what configurations might measure on one task."""

    def draw(self, configs: Sequence[Config], rng: np.random.Generator) -> Vectors:
        """Scores [n] that n configurations might have had, one draw each; lower is better."""
        ...

    def measured(self, scores: Vectors) -> Vectors:
        """The values [...] that scores stand for, lower is better: a worse one for a higher score,
        and never better than the best measured."""
        ...


class OwnModel:
    """Fitted to at least FEWEST_TRIALS finished trials of one task, lower is better.

    PRUNED trials count with the value that they had reached, FAILED ones as worse than any other.
    `skill` is the rank correlation in [-1, 1] of what trees predict with what was measured, over
    trials that they were not grown on.
    """

    def __init__(self, space: SearchSpace, trials: Sequence[Trial], seed: int) -> None:
        self._features = Features(space)
        values = np.asarray([outcome(trial) for trial in trials])
        values = np.where(np.isfinite(values), np.clip(values, -LARGEST, LARGEST), values)
        scores = norm.ppf((rankdata(values) - 0.5) / len(values))
        self._values, self._scores = np.sort(values), np.sort(scores)
        self._trees = ExtraTreesRegressor(_TREES, bootstrap=True, oob_score=True, random_state=seed)
        with one_thread():
            self._trees.fit(self._features.of([t.config for t in trials]), scores)
        left_out: Vectors = self._trees.oob_prediction_
        self._errors = scores - left_out
        varied = np.ptp(left_out) > 0.0 and np.ptp(scores) > 0.0
        self.skill = float(spearmanr(left_out, scores).statistic) if varied else 0.0

    def draw(self, configs: Sequence[Config], rng: np.random.Generator) -> Vectors:
        """See TaskModel."""
        predicted = predict_trees(self._trees, self._features.of(configs))
        scores: Vectors = predicted + rng.choice(self._errors, len(configs))
        return scores

    def measured(self, scores: Vectors) -> Vectors:
        """See TaskModel."""
        place = np.interp(scores, self._scores, np.arange(len(self._scores), dtype=float))
        below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
        low, high = self._values[below], self._values[above]
        known = np.isfinite(low) & np.isfinite(high)
        rise = np.where(known, high, 0.0) - np.where(known, low, 0.0)
        values: Vectors = np.where(known, low + (place - below) * rise, high)
        return values


def predict_trees(trees: ExtraTreesRegressor, points: Vectors) -> Vectors:
    """What a forest predicts at points [n, d]: for a few rows, its own predict takes ten times as
    long as one tree after the other."""
    rows = points.astype(np.float32)
    predicted: Vectors = np.mean(
        [tree.predict(rows, check_input=False) for tree in trees.estimators_], axis=0
    )
    return predicted
