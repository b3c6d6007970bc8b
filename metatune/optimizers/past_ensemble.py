"""What past tasks expect of configurations, each by a surrogate of the chosen kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metatune.experience.past import PastTask, thinned
from metatune.optimizers.features import Features
from metatune.optimizers.past_surrogate import Sample, sample
from metatune.optimizers.similarity import evidence, prior_weights
from metatune.optimizers.surrogate import Fitted, Surrogate
from metatune.optimizers.task_surrogate import is_related
from metatune.parameters import Vectors
from metatune.space import Config, SearchSpace
from metatune.task import Task
from metatune.trial import derive_seed

# Of more past tasks than this, those most like the present one are asked, then those with most
# trials; of each, the best half of so many trials and every k-th of the others.
MOST_TASKS = 16
_MOST_TRIALS = 200
_FIT_SEED = 0


@dataclass(frozen=True)
class PastEnsemble:
    """A surrogate fitted to each of some past tasks, on labels that are 0 for the best of a task
    and 1 for its median (see `past_surrogate.scaled`)."""

    task: Task
    samples: tuple[Sample, ...]
    fitted: tuple[Fitted, ...]

    @classmethod
    def of(
        cls,
        surrogate: Surrogate,
        past: Sequence[PastTask],
        task: Task,
        space: SearchSpace,
        features: Features,
    ) -> PastEnsemble:
        """From those of the past tasks that are related to `space`."""
        related = [one for one in past if is_related(one, space)]
        weights = prior_weights(task, [one.task for one in related])
        ranked = sorted(
            range(len(related)), key=lambda row: (-weights[row], -len(related[row].trials))
        )
        samples = [sample(related[row], space, features) for row in ranked[:MOST_TASKS]]
        fitted = []
        for index, kept in enumerate(samples):
            rows = thinned(len(kept.labels), _MOST_TRIALS)
            points = kept.points[rows][:, kept.columns]
            fitted.append(surrogate.fit(points, kept.labels[rows], derive_seed(_FIT_SEED, index)))
        return cls(task, tuple(samples), tuple(fitted))

    def __len__(self) -> int:
        return len(self.fitted)

    def best(self, count: int) -> list[Config]:
        """The `count` best different configurations of each task that ran to their end."""
        found: list[Config] = []
        for kept in self.samples:
            best = {repr(c): c for c, done in zip(kept.configs, kept.complete, strict=True) if done}
            found += list(best.values())[:count]
        return found

    def predict(self, points: Vectors) -> tuple[Vectors, Vectors]:
        """Labels expected by each task [T, n] at n rows of features, and their deviations."""
        if not self.fitted or not len(points):
            return np.empty((len(self), len(points))), np.empty((len(self), len(points)))
        said = [
            fitted.predict(points[:, kept.columns])
            for kept, fitted in zip(self.samples, self.fitted, strict=True)
        ]
        return np.stack([mean for mean, _ in said]), np.stack([spread for _, spread in said])

    def weights(self, predicted: Vectors, observed: Vectors) -> Vectors:
        """Weights [T] that sum to 1: how like a task is by its metafeatures, times how well it
        predicts the order [T, n] of what was observed [n], lower is better."""
        prior = prior_weights(self.task, [kept.task for kept in self.samples])
        weights = prior * evidence(predicted, observed)
        normalised: Vectors = weights / weights.sum()
        return normalised


def mixed(weights: Vectors, means: Vectors, deviations: Vectors) -> tuple[Vectors, Vectors]:
    """Mean and deviation [n] of the mixture of what T tasks say [T, n]."""
    mean = weights @ means
    variance = weights @ (deviations**2 + (means - mean) ** 2)
    return mean, np.sqrt(variance)
