"""What is learned from past tasks for one search space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metatune.experience.past import PastTask
from metatune.optimizers.features import Features
from metatune.optimizers.past_surrogate import PastSurrogate, Sample, sample
from metatune.optimizers.similarity import prior_weights
from metatune.optimizers.task_prior import TaskPrior, learn_prior
from metatune.optimizers.task_surrogate import is_related
from metatune.optimizers.threads import one_thread
from metatune.parameters import Vectors
from metatune.space import Config, SearchSpace
from metatune.task import Task
from metatune.trial import derive_seed

# Of more past tasks than this, those with most trials are learned from.
MOST_TASKS = 64
# To learn the prior, as many tasks are left out at most, and as many of their trials predicted.
_LEFT_OUT = 16
_PREDICTED = 200
_FEWEST_PREDICTED = 6

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TransferModel:
    """Surrogates of the past tasks that are related to `space`, and the prior they make."""

    space: SearchSpace
    surrogates: tuple[PastSurrogate, ...]
    prior: TaskPrior

    @cached_property
    def features(self) -> Features:
        """Configurations as the model sees them."""
        return Features(self.space)

    def values(self, points: Vectors) -> Vectors:
        """Scaled values [T, n] that each past task expects at n rows of features."""
        return np.stack([surrogate.predict(points) for surrogate in self.surrogates])

    def weights(self, task: Task) -> Vectors:
        """Prior weights [T] of the past tasks, from the metafeatures they share with `task`."""
        weights = prior_weights(task, [surrogate.sample.task for surrogate in self.surrogates])
        normalised: Vectors = weights / weights.sum()
        return normalised

    def best(self, count: int) -> list[Config]:
        """The `count` best different configurations of each past task that ran to their end."""
        found: list[Config] = []
        for surrogate in self.surrogates:
            kept = surrogate.sample
            best = {repr(c): c for c, done in zip(kept.configs, kept.complete, strict=True) if done}
            found += list(best.values())[:count]
        return found


def related(past: Sequence[PastTask], space: SearchSpace) -> list[PastTask]:
    """The past tasks that a model for `space` is fitted to, those with most trials first."""
    tasks = [task for task in past if is_related(task, space)]
    return sorted(tasks, key=lambda task: -len(task.trials))[:MOST_TASKS]


@one_thread()
def fit(
    past: Sequence[PastTask],
    space: SearchSpace,
    seed: int,
    progress: Progress = lambda what, done, of: None,
) -> TransferModel | None:
    """The model of the related ones among `past` for `space`; None where there are none."""
    tasks = related(past, space)
    if not tasks:
        return None
    features = Features(space)
    surrogates = []
    for index, task in enumerate(tasks):
        progress("past tasks", index, len(tasks))
        surrogates.append(PastSurrogate(sample(task, space, features), derive_seed(seed, index)))
    progress("past tasks", len(tasks), len(tasks))
    prior = _prior(surrogates, features, seed, progress)
    return TransferModel(space, tuple(surrogates), prior)


@one_thread()
def without(model: TransferModel, task: Task, seed: int) -> TransferModel | None:
    """The model as it would be had nothing been known of `task`, nor of tasks that are called
    `task/part` because they are derived from it; None where nothing is left."""
    rest = [s for s in model.surrogates if not _is_same(s.sample.task, task)]
    if not rest:
        return None
    prior = _prior(rest, model.features, seed, lambda what, done, of: None)
    return TransferModel(model.space, tuple(rest), prior)


def _is_same(one: Task, other: Task) -> bool:
    same_data = bool(one.data_hash) and one.data_hash == other.data_hash
    return same_data or f"{one.name}/".startswith(f"{other.name}/")


def _prior(
    surrogates: Sequence[PastSurrogate], features: Features, seed: int, progress: Progress
) -> TaskPrior:
    if len(surrogates) < 2:
        return TaskPrior.unlearned(features.count)
    rng = np.random.default_rng(seed)
    sets = []
    telling = [row for row, one in enumerate(surrogates) if _tells(one.sample)]
    for left_out in rng.permutation(telling)[:_LEFT_OUT]:
        kept = surrogates[left_out].sample
        others = [s for index, s in enumerate(surrogates) if index != left_out]
        rows = rng.permutation(len(kept.labels))[:_PREDICTED]
        points = kept.points[rows]
        values = np.stack([other.predict(points) for other in others])
        sets.append((values, points, kept.labels[rows]))
    if not sets:
        return TaskPrior.unlearned(features.count)
    return learn_prior(sets, seed, lambda done, of: progress("prior", done, of))


def _tells(kept: Sample) -> bool:
    """Whether something can be learned from how well others predict a task."""
    return len(kept.labels) >= _FEWEST_PREDICTED and bool(np.ptp(kept.labels) > 0.0)
