"""What any configuration would have measured on a task, by what past tasks and its own trials say.

This is the posterior that the learned optimizer proposes from (the task-basis process given the
study's trials). To be asked for one configuration after another it is learned by extremely
randomised trees (Geurts et al. 2006) from random configurations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from metatune.experience.past import thinned
from metatune.optimizers.task_prior import Seen
from metatune.optimizers.task_refit import adjusted
from metatune.optimizers.task_surrogate import outcome
from metatune.optimizers.threads import one_thread
from metatune.optimizers.transfer_model import TransferModel
from metatune.parameters import Vectors
from metatune.report.task_model import predict_trees
from metatune.space import Config
from metatune.study import Study
from metatune.trial import Trial

FEWEST_FINITE = 4
_TREES = 32
_CONFIGURATIONS = 1000
_MOST_TRIALS = 500
# Labels beyond the median near 2, which stands for infinitely bad.
_MOST_LABEL = 1.999


class PastModel:
    """`model` conditioned on finished trials of `study`, lower is better, FEWEST_FINITE of them
    with a finite value."""

    def __init__(
        self, model: TransferModel, study: Study, trials: Sequence[Trial], seed: int
    ) -> None:
        ranked = sorted(trials, key=outcome)
        kept = [ranked[index] for index in thinned(len(ranked), _MOST_TRIALS)]
        values = np.asarray([outcome(trial) for trial in kept])
        self._features = model.features
        self._best = float(values.min())
        rng = np.random.default_rng(seed)
        configs = [study.space.sample(rng) for _ in range(_CONFIGURATIONS)]
        configs += [trial.config for trial in kept]
        with one_thread():
            points = self._features.of(configs)
            weights = model.weights(study.task)
            seen = Seen.of(model.values(points), points, weights)
            own = seen.rows(slice(_CONFIGURATIONS, None))
            known = adjusted(model.prior, own, values)
            means, deviations = known.predict(seen)
            self._offset, self._rate = known.offset, known.rate
            self._trees = ExtraTreesRegressor(_TREES, random_state=seed)
            self._trees.fit(points, np.stack([means[0], deviations], axis=1))

    def draw(self, configs: Sequence[Config], rng: np.random.Generator) -> Vectors:
        """See TaskModel."""
        predicted = predict_trees(self._trees, self._features.of(configs))
        scores: Vectors = predicted[:, 0] + predicted[:, 1] * rng.standard_normal(len(configs))
        return scores

    def measured(self, scores: Vectors) -> Vectors:
        """See TaskModel."""
        labels = np.minimum(scores, _MOST_LABEL)
        beyond = 1.0 - np.log(2.0 - np.maximum(labels, 1.0))  # undoes `squashed`
        values: Vectors = self._offset + np.where(labels > 1.0, beyond, labels) / self._rate
        return np.maximum(values, self._best)
