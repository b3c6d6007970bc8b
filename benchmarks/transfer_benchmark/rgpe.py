"""Ranking-weighted Gaussian process ensemble (Feurer, Letham, Bakshy 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import qmc, rankdata

from metatune.experience.past import PastTask
from metatune.optimizers.adapt import carry
from metatune.optimizers.optimizer import in_sequence
from metatune.optimizers.task_surrogate import outcome
from metatune.parameters import Value, Vectors
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial, derive_seed
from transfer_benchmark.gaussian_process import GaussianProcess

# Of each past task: its best configurations, and others drawn at random.
_BEST, _OTHERS = 50, 100
_SAMPLES = 256
_SOBOL = 2048
# How many of the best configurations of each past task are candidates too.
_CARRIED = 10
# Around each of the best trials so far.
_AROUND, _PERTURBATIONS, _STEP = 5, 100, 0.05
# A past task is left out whose median loss exceeds this quantile of the target's own.
_DILUTION = 0.95


@dataclass(frozen=True)
class RGPE:
    """One Gaussian process for each past task and one for this task, weighted by how often each
    ranks this task's trials best among posterior draws; expected improvement on the mixture.

    Values are normal scores of their ranks. Past tasks weigh the same until there are 3 trials.
    Weight dilution is prevented by the rule of the paper's section 4.3. Candidates are the pool,
    or Sobol points, the best of the past tasks and perturbations of the best trials.
    """

    past: Sequence[PastTask] = field(repr=False)
    pool: Sequence[Config] | None = field(repr=False)
    _kept: dict[str, _Sources] = field(default_factory=dict, init=False, repr=False)

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer."""
        if study.space.id not in self._kept:
            self._kept[study.space.id] = _Sources(self.past, self.pool, study.space, seed)
        sources = self._kept[study.space.id]

        def propose(known: Sequence[Trial], seed_of_call: int) -> Suggestion:
            return Suggestion(sources.propose(known, seed_of_call), "rgpe")

        return in_sequence(propose, study, trials, count, seed)


class _Sources:
    """The past tasks' processes, and what they say of the fixed candidates."""

    def __init__(
        self,
        past: Sequence[PastTask],
        pool: Sequence[Config] | None,
        space: SearchSpace,
        seed: int,
    ) -> None:
        self._space = space
        self._pool = pool
        self._processes = [
            _source(task, space, derive_seed(seed, index)) for index, task in enumerate(past)
        ]
        if pool is None:
            points = qmc.Sobol(len(space), rng=np.random.default_rng(seed)).random(_SOBOL)
            points = np.vstack([points, *[process.x[:_CARRIED] for process in self._processes]])
            self._candidates = np.stack([space.encode(space.decode(point)) for point in points])
        else:
            self._candidates = np.stack([space.encode(config) for config in pool])
        self._known = self._of_sources(self._candidates)

    def propose(self, trials: Sequence[Trial], seed: int) -> Config:
        rng = np.random.default_rng(seed)
        tried = np.stack([self._space.encode(t.config) for t in trials]) if trials else None
        if tried is None:
            mean = self._known[0].mean(axis=0)
            return self._config(self._candidates[int(np.argmin(mean))])
        values = _normal_scores(np.asarray([outcome(trial) for trial in trials]))
        candidates, (means, variances) = self._candidates, self._known
        if self._pool is None:
            near = self._near(tried[np.argsort(values, kind="stable")[:_AROUND]], rng)
            more = self._of_sources(near)
            candidates = np.concatenate([candidates, near])
            means, variances = np.hstack([means, more[0]]), np.hstack([variances, more[1]])
        at_tried = self._of_sources(tried)[0]
        weights = np.full(len(self._processes), 1.0 / len(self._processes))
        if len(trials) >= 3:
            target = GaussianProcess.fit(tried, values)
            weights = self._weights(target, rng)
            mean, variance = target.predict(candidates)
            means, variances = np.vstack([means, mean]), np.vstack([variances, variance])
            at_tried = np.vstack([at_tried, target.predict(tried)[0]])
        incumbent = float((weights @ at_tried).min())
        gain = _log_improvement(weights @ means, weights**2 @ variances, incumbent)
        # Rows of candidates that were tried.
        repeated = (candidates[:, None, :] == tried[None]).all(axis=2).any(axis=1)
        return self._config(candidates[int(np.argmax(np.where(repeated, -np.inf, gain)))])

    def _weights(self, target: GaussianProcess, rng: np.random.Generator) -> Vectors:
        """Weights of the past tasks' processes, and last of the target's."""
        mean, variance = target.leave_one_out()
        own = mean + np.sqrt(variance) * rng.standard_normal((_SAMPLES, len(mean)))
        draws = [process.sample(target.x, _SAMPLES, rng) for process in self._processes]
        losses = np.stack([_misranked(draw, target.y) for draw in [*draws, own]])
        limit = np.quantile(losses[-1], _DILUTION)
        diluting = np.median(losses, axis=1) > limit
        diluting[-1] = False
        losses[diluting] = np.inf
        best = losses == losses.min(axis=0)
        shares: Vectors = (best / best.sum(axis=0)).mean(axis=1)
        return shares

    def _near(self, centres: Vectors, rng: np.random.Generator) -> Vectors:
        shape = (len(centres), _PERTURBATIONS, centres.shape[1])
        points = np.clip(centres[:, None] + _STEP * rng.standard_normal(shape), 0.0, 1.0)
        flat = points.reshape(-1, centres.shape[1])
        return np.stack([self._space.encode(self._space.decode(point)) for point in flat])

    def _of_sources(self, x: Vectors) -> tuple[Vectors, Vectors]:
        """Means and variances [past tasks, m] at `x` [m, d]."""
        predictions = [process.predict(x) for process in self._processes]
        return np.stack([m for m, _ in predictions]), np.stack([v for _, v in predictions])

    def _config(self, vector: Vectors) -> Config:
        if self._pool is None:
            return self._space.decode(vector)
        row = int(np.flatnonzero((self._candidates == vector).all(axis=1))[0])
        return self._pool[row]


def _source(past: PastTask, space: SearchSpace, seed: int) -> GaussianProcess:
    """The process of a past task; a parameter that it lacks is in the middle."""
    values = np.asarray([outcome(trial) for trial in past.trials])
    order = np.argsort(values, kind="stable")
    rng = np.random.default_rng(seed)
    others = rng.choice(order[_BEST:], size=min(_OTHERS, len(order[_BEST:])), replace=False)
    chosen = np.concatenate([order[:_BEST], others])
    x = np.stack([carry(space, past.trials[index].config) for index in chosen])
    return GaussianProcess.fit(np.nan_to_num(x, nan=0.5), _normal_scores(values)[chosen])


def _normal_scores(values: Vectors) -> Vectors:
    """Normal quantiles of the ranks (Salinas et al. 2020), so that no outlier matters."""
    scores: Vectors = ndtri((rankdata(values) - 0.5) / len(values))
    return scores


def _misranked(draws: Vectors, y: Vectors) -> Vectors:
    """How many pairs of `y` [n] each of the draws [s, n] puts in the wrong order."""
    said = draws[:, :, None] < draws[:, None, :]
    counts: Vectors = (said != (y[:, None] < y[None, :])).sum(axis=(1, 2)).astype(float)
    return counts


def _log_improvement(mean: Vectors, variance: Vectors, incumbent: float) -> Vectors:
    """Logarithm of the expected improvement on `incumbent`, lower being better."""
    deviation = np.sqrt(variance)
    z = (incumbent - mean) / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    with np.errstate(divide="ignore"):
        direct = np.log(np.maximum(z * ndtr(z) + density, 0.0))
    # Far below the incumbent: the leading terms, lest all candidates tie at -inf.
    far = log_ndtr(z) - np.log(np.maximum(-z, 1.0))
    gain: Vectors = np.where(z > -5.0, direct, far) + np.log(deviation)
    return gain
