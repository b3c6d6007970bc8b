"""Which of the best trials is best once each is trained again from other seeds.

The value that a trial was chosen for flatters it: the best of many is partly the luckiest. Values
from fresh seeds do not, and how they scatter tells how sure the choice is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy import special

from metatune.errors import StudyError
from metatune.export.documents import document
from metatune.export.retraining import EachEpoch, best_of, dataset_of, scores, training_of
from metatune.study import Study
from metatune.trial import Trial, derive_seed

_OF_RERUNS = 8_191  # sets these seeds apart from those of trials
_GRID = 4_000  # points of the integral


@dataclass(frozen=True)
class Rerun:
    """A trial trained again: its values, one a seed; NaN where it diverged."""

    trial: Trial
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds; NaN if training diverged from any."""
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds, with n - 1."""
        return stdev(self.values) if math.isfinite(self.mean) else math.nan


@dataclass(frozen=True)
class Choice:
    """The reruns, best first by mean, and the probability that the first is best."""

    reruns: tuple[Rerun, ...]
    sure: float

    @property
    def best(self) -> Rerun:
        """What is chosen."""
        return self.reruns[0]

    def result(self) -> dict[str, Any]:
        """What an exported document says of it in [result]; `sure` needs another candidate."""
        of_best = {
            "mean": self.best.mean,
            "deviation": self.best.deviation,
            "seeds": len(self.best.values),
            "candidates": len(self.reruns),
        }
        return of_best | ({"sure": self.sure} if len(self.reruns) > 1 else {})


def choose(
    study: Study,
    candidates: Sequence[Trial],
    seeds: int,
    each_epoch: EachEpoch | None = None,
    store: str = "",
) -> Choice:
    """Train each of the trials again from `seeds` new seeds, and choose the best by mean.

    The seeds derive from the study's, are the same for all candidates, and change weights, order
    and dropout; the data stays split as it is. `each_epoch` is told after each epoch. Nothing is
    recorded in the store: they are no trials of the search, and what it proposes on being resumed
    must not depend on them. Raises
    InputError for trials of the user's own trainables, and StudyError if every candidate diverges.
    """
    source = f"study {study.name!r}"
    exported = [document(study, trial, store=store) for trial in candidates]
    dataset = dataset_of(exported[0], source)
    reruns = []
    for trial, one in zip(candidates, exported, strict=True):
        values = []
        for seed in new_seeds(study, seeds):
            training = training_of(one, dataset, seed, source)
            curve = scores(training, study.task.metric, trial.step, each_epoch)
            values.append(best_of(curve, study.task.direction))
        reruns.append(Rerun(trial, tuple(values)))
    whole = [rerun for rerun in reruns if math.isfinite(rerun.mean)]
    if not whole:
        raise StudyError(
            f"{source}: each of the {len(reruns)} candidates diverges from some of {seeds} seeds"
        )
    flip = study.task.flip
    whole.sort(key=lambda rerun: (flip(rerun.mean), rerun.trial.number))
    diverged = [rerun for rerun in reruns if not math.isfinite(rerun.mean)]
    sure = probability_of_best([[flip(value) for value in rerun.values] for rerun in whole])
    return Choice((*whole, *diverged), sure)


def new_seeds(study: Study, count: int) -> list[int]:
    """Seeds that derive from the study's and are those of none of its trials."""
    return [derive_seed(study.seed, _OF_RERUNS, index) for index in range(count)]


def probability_of_best(values: Sequence[Sequence[float]]) -> float:
    """How likely the first of several has the lowest mean, given values [n] of each.

    Given n normal values with mean m and deviation s, and without prior knowledge, the mean is
    m + s / sqrt(n) t, t from Student's distribution with n - 1 degrees of freedom, independently
    for each. So the probability is the integral over the first one's mean of the product of the
    chances that each other's is higher (PCS_Bayes of Branke, Chick & Schmidt 2007, "Selecting a
    selection procedure", section 2.2), computed at the midpoints of equally likely intervals.
    """
    means = np.array([fmean(of) for of in values])
    errors = np.array([stdev(of) / math.sqrt(len(of)) for of in values])
    freedom = len(values[0]) - 1
    at = means[0] + errors[0] * special.stdtrit(freedom, (np.arange(_GRID) + 0.5) / _GRID)
    chance = np.ones(_GRID)
    for mean, error in zip(means[1:], errors[1:], strict=True):
        if error > 0.0:
            chance *= special.stdtr(freedom, (mean - at) / error)
        else:
            chance *= 0.5 * (1.0 + np.sign(mean - at))
    return float(chance.mean())
