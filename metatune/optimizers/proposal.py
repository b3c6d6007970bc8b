"""One proposal: expected improvement where experience and this task's own trials are weighed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from metatune.errors import InputError
from metatune.experience.past import thinned
from metatune.optimizers.acquisition import expected_improvement, near, spread_out
from metatune.optimizers.adapt import carried_over
from metatune.optimizers.cost import relative_costs
from metatune.optimizers.features import Features
from metatune.optimizers.gaussian_process import GaussianProcess
from metatune.optimizers.guard import memory_weight
from metatune.optimizers.random import draw
from metatune.optimizers.task_alone import fit_alone
from metatune.optimizers.task_posterior import TaskPosterior
from metatune.optimizers.task_prior import Seen
from metatune.optimizers.task_refit import adjusted
from metatune.optimizers.task_surrogate import outcome
from metatune.optimizers.transfer_model import TransferModel
from metatune.parameters import Value, Vectors
from metatune.space import Config
from metatune.study import Study
from metatune.trial import Suggestion, Trial, TrialState, derive_seed

NAME = "transfer"
_SPREAD = 512
# Best configurations of each past task that are compared, and how many of them all.
_BEST = 50
_MOST_PAST = 400
# Around so many configurations, tried and not, so many others are compared, so many times.
_CENTRES = 3
_NEAR = 16
_ROUNDS = 2
# One trial in so many is proposed by this task's own trials alone: where experience misleads, what
# it proposes is too much alike to show that.
_UNAIDED = 5
# Below this weight, experience was overruled.
_OVERRULED = 0.5
# Finished trials that a proposal is made from at most.
_MOST_KNOWN = 300
# Trials with a value before a model of the task alone is asked, where there is no experience; and
# trials that may fail, one and all, before experience is asked no more.
_START = 4

_Key = tuple[object, ...]


class Choices:
    """The configurations that every proposal of a study is compared with.

    Those that were best on past tasks, most expected of first, and a Sobol sequence; or else
    `candidates` alone. Without a model there are no past tasks.
    """

    def __init__(
        self,
        model: TransferModel | None,
        study: Study,
        seed: int,
        given: Mapping[str, Value],
        candidates: Sequence[Config] | None,
    ) -> None:
        self.model, self.space, self.given = model, study.space, given
        self._features = Features(study.space)
        self.weights = model.weights(study.task) if model else np.empty(0)
        self.fixed = candidates is not None
        surrogates = model.surrogates if model else ()
        # What past tasks measured: nothing is novel where that is none of the candidates.
        self._known = {_key(config) for one in surrogates for config in one.sample.configs}
        measured: list[Config] = []
        if candidates is not None:
            fitting = [c for c in candidates if all(c.get(n) == v for n, v in given.items())]
            if not fitting:
                raise InputError(f"none of {len(candidates)} candidates has {dict(given)!r}")
            order = np.random.default_rng(derive_seed(seed, 0, 2)).permutation(len(fitting))
            self.configs: list[Config] = [fitting[row] for row in order]
            self._known &= {_key(config) for config in fitting}
        else:
            if model is not None:
                best = self._most_expected(model.best(_BEST), _MOST_PAST)
                carried = [config for config, _ in carried_over(study.space, best, given)]
                measured = self._most_expected(carried, _MOST_PAST)
            spread = spread_out(study.space, _SPREAD, derive_seed(seed, 0, 2), given)
            self.configs = measured + spread
        self.keys = [_key(config) for config in self.configs]
        self.seen = self.see(self.configs, self.keys)
        # What was tried, in the order in which it was first asked for.
        self._rows: dict[_Key, int] = {}
        self._tried = self.seen.rows([])
        self.measured = len(measured)
        self.first = int(np.argmin(self.seen.mean[: self.measured or None]))

    def _most_expected(self, configs: list[Config], count: int) -> list[Config]:
        """Those of which the past tasks expect most, best first."""
        expected = self.see(configs, [_key(config) for config in configs]).mean
        return [configs[row] for row in np.argsort(expected, kind="stable")[:count]]

    def see(self, configs: Sequence[Config], keys: Sequence[_Key]) -> Seen:
        """Configurations, whose keys are given, as the prior sees them: each the same whatever the
        others, to the bit."""
        points = self._features.of(configs)
        if self.model is None:
            none = np.zeros(len(points))
            return Seen(none, np.empty((len(points), 0)), points, none)
        novel = np.asarray([bool(self._known) and key not in self._known for key in keys])
        values = self.model.values(points)
        return Seen.of(values, points, self.weights, novel.astype(np.float64))

    def trials(self, configs: Sequence[Config]) -> Seen:
        """The same for what was tried, which is asked for again and again."""
        keys = [_key(config) for config in configs]
        new = {key: c for key, c in zip(keys, configs, strict=True) if key not in self._rows}
        if new:
            self._rows |= {key: len(self._rows) + index for index, key in enumerate(new)}
            self._tried = Seen.joined([self._tried, self.see(list(new.values()), list(new))])
        return self._tried.rows([self._rows[key] for key in keys])


class Proposal:
    """What to try next, from everything known at that moment."""

    def __init__(self, choices: Choices, trials: Sequence[Trial], seed: int) -> None:
        self._choices, self._trials, self._seed = choices, trials, seed
        finished = _most_telling([trial for trial in trials if trial.state.finished])
        pending = [trial for trial in trials if not trial.state.finished]
        self._configs = [trial.config for trial in (*finished, *pending)]
        self._tried = {_key(trial.config) for trial in trials}
        self._pending = {_key(trial.config) for trial in pending}
        self._values = np.asarray([outcome(trial) for trial in finished])
        self._costs = np.asarray([_cost(trial) for trial in finished])
        self._memory: TaskPosterior | None = None
        self._alone: GaussianProcess | None = None
        self.weight = 0.0 if choices.model is None else 1.0
        self._is_unaided = False

    def suggestion(self, per_cost: bool = False) -> Suggestion:
        """The configuration of greatest score among those compared that was not tried.

        With `per_cost`, scores count per unit of expected cost.
        """
        choices = self._choices
        if not self._configs:
            return self._told(choices.configs[choices.first], None)
        self._condition()
        if self._nothing_to_go_by():
            return self._told(self._untried(), None)
        configs, keys, seen = choices.configs, choices.keys, choices.seen
        improvements = self._improvements(seen)
        rng = np.random.default_rng(self._seed)
        for _ in range(0 if choices.fixed else _ROUNDS):
            nearby = self._nearby(configs, self._scores(improvements), rng)
            new = [_key(config) for config in nearby]
            more = choices.see(nearby, new)
            configs, keys, seen = configs + nearby, keys + new, Seen.joined([seen, more])
            improvements = np.concatenate([improvements, self._improvements(more)], axis=1)
        scores = self._scores(improvements)
        if per_cost:
            tried = choices.trials(self._configs).points[: len(self._costs)]
            scores = scores / relative_costs(tried, self._costs, seen.points)
        # What was tried comes after all else, and last what is running.
        times = np.asarray([(key in self._tried) + (key in self._pending) for key in keys])
        set_back = (2.0 * scores.max() + 1.0) * times
        chosen = int(np.argmax(scores - set_back))
        return self._told(configs[chosen], seen.rows([chosen]))

    def _nothing_to_go_by(self) -> bool:
        """Whether no model speaks, or all that experience proposed has failed."""
        count = len(self._values)
        hopeless = count >= _START and not np.isfinite(self._values).any()
        return hopeless or (self._memory is None and self._alone is None)

    def _untried(self) -> Config:
        """The first of those spread out that was not tried; else a random one, if any will do."""
        choices = self._choices
        for seen in (self._tried, self._pending):
            for row in range(choices.measured, len(choices.configs)):
                if choices.keys[row] not in seen:
                    return choices.configs[row]
            if not choices.fixed:
                return draw(choices.space, self._trials, self._seed, choices.given).config
        return choices.configs[0]

    def _condition(self) -> None:
        """Fit both sides to the trials; pending ones are taken to end as is expected of them."""
        seen, count = self._choices.trials(self._configs), len(self._values)
        ended, finite = seen.rows(slice(count)), int(np.isfinite(self._values).sum())
        values, alone = self._values, None
        if finite > 1:
            alone = fit_alone(ended.points, values)
        if self._choices.model is None:
            if alone is not None and finite >= _START:
                self._alone = alone.expecting(seen.points[count:])
            return
        prior = self._choices.model.prior
        if not count:
            self._memory = TaskPosterior(prior, seen, np.stack([seen.mean, seen.mean]))
            return
        memory = adjusted(prior, ended, values)
        if alone is not None:
            self._is_unaided = len(self._trials) % _UNAIDED == 0
            if self._is_unaided:
                self.weight = 0.0
            else:
                self.weight = memory_weight(memory.leave_one_out(), alone.leave_one_out(), values)
            self._alone = alone.expecting(seen.points[count:])
        pending = seen.rows(slice(count, None))
        self._memory = memory.expecting(pending) if len(pending.mean) else memory

    def _improvements(self, seen: Seen) -> Vectors:
        """Expected improvements [3, n]: memory's on values and on ranks, and the task's alone."""
        rows = np.zeros((3, len(seen.mean)))
        if self._memory is not None:
            means, deviation = self._memory.predict(seen)
            for row, labels in enumerate(self._memory.labels):
                rows[row] = expected_improvement(means[row], deviation, float(labels.min()))
        if self._alone is not None:
            best = float(self._alone.values.min())
            rows[2] = expected_improvement(*self._alone.predict(seen.points), best)
        return rows

    def _scores(self, improvements: Vectors) -> Vectors:
        """Weighted sums [n] of improvements [3, n], each relative to its greatest."""
        greatest = improvements.max(axis=1, keepdims=True)
        relative = improvements / np.maximum(greatest, np.finfo(np.float64).tiny)
        scores: Vectors = np.asarray([self.weight / 2, self.weight / 2, 1 - self.weight]) @ relative
        return scores

    def _nearby(
        self, configs: list[Config], scores: Vectors, rng: np.random.Generator
    ) -> list[Config]:
        """Others around those of `configs` of best score, and around the best that were tried."""
        most = np.argsort(-scores, kind="stable")[:_CENTRES]
        best = np.argsort(self._values, kind="stable")[:_CENTRES]
        centres = [configs[row] for row in most] + [self._configs[row] for row in best]
        space, given = self._choices.space, self._choices.given
        return [config for centre in centres for config in near(space, centre, _NEAR, rng, given)]

    def _told(self, config: Config, seen: Seen | None) -> Suggestion:
        choices = self._choices
        loadings, predicted, uncertainty = choices.weights, None, None
        memory = self._memory
        if seen is not None and memory is not None and len(self._values) > 1:
            means, deviation = memory.predict(seen)
            predicted = memory.offset + float(means[0, 0]) / memory.rate
            uncertainty = float(deviation[0]) / memory.rate
            loadings = np.maximum(memory.loadings(choices.weights), 0.0)
        asked = choices.model is not None and not self._is_unaided
        return Suggestion(
            config,
            NAME,
            tasks=self._by_task(loadings),
            predicted=predicted,
            uncertainty=uncertainty,
            guarded=asked and self.weight < _OVERRULED,
        )

    def _by_task(self, loadings: Vectors) -> dict[str, float]:
        model = self._choices.model
        shares: dict[str, float] = {}
        for surrogate, loading in zip(model.surrogates if model else (), loadings, strict=True):
            if self.weight * loading > 0.0:
                name = surrogate.sample.task.name
                shares[name] = shares.get(name, 0.0) + self.weight * float(loading / loadings.sum())
        return shares


def _key(config: Config) -> _Key:
    """The same for equal configurations, whatever the order of their parameters; 1, 1.0 and True
    differ."""
    names = sorted(config)
    values = [config[name] for name in names]
    return (*names, *values, *map(type, values))


def _most_telling(finished: list[Trial]) -> list[Trial]:
    """Of many trials the best half of `_MOST_KNOWN` and every k-th of the others, in order."""
    ranked = sorted(range(len(finished)), key=lambda row: outcome(finished[row]))
    kept = sorted(ranked[index] for index in thinned(len(finished), _MOST_KNOWN))
    return [finished[row] for row in kept]


def _cost(trial: Trial) -> float:
    """Seconds of a trial that ran to its end, NaN of any other."""
    complete = trial.state is TrialState.COMPLETE and trial.cost > 0.0
    return trial.cost if complete else math.nan
