"""A random forest as a surrogate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from metatune.optimizers.surrogate import Scale
from metatune.parameters import Vectors

# Outside the range of every parameter: a split tells those that do not exist from all others.
_ABSENT = -1.0
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class ForestSurrogate:
    """A random forest (Breiman 2001) of `trees`, each grown on a bootstrap sample.

    By the law of total variance, the variance is that of the trees' means plus the mean of the
    variances in their leaves (Hutter et al. 2014, section 4.3.2).
    """

    trees: int = 50

    def __str__(self) -> str:
        return f"forest(trees={self.trees})"

    def fit(self, points: Vectors, labels: Vectors, seed: int) -> FittedForest:
        """See Surrogate."""
        scale = Scale.of(labels)
        forest = RandomForestRegressor(
            self.trees, min_samples_split=3, max_features=5 / 6, random_state=seed
        )
        forest.fit(_placed(points), scale.standardised(labels))
        return FittedForest(forest, scale)


@dataclass(frozen=True)
class FittedForest:
    """A forest of standardised labels."""

    forest: RandomForestRegressor
    scale: Scale

    def predict(self, points: Vectors) -> tuple[Vectors, Vectors]:
        """See Fitted."""
        rows = _placed(points).astype(np.float32)
        means, within = [], []
        for tree in self.forest.estimators_:
            grown = tree.tree_
            leaves = grown.apply(rows)
            means.append(grown.value[leaves, 0, 0])
            within.append(grown.impurity[leaves])
        variance = np.var(means, axis=0) + np.mean(within, axis=0) + _LEAST_VARIANCE
        return self.scale.restored(np.mean(means, axis=0), np.sqrt(variance))


def _placed(points: Vectors) -> Vectors:
    return np.where(np.isnan(points), _ABSENT, points)
