"""Bayesian optimization with a surrogate of one's choice, for past tasks and for the present one.

What the past tasks expect, g(x), is the mixture of a surrogate for each of them, weighted by
metafeatures and by how well each orders what this task's trials showed. A line a + b g(x) is
fitted to the labels of these trials, and another surrogate of the same kind to what it leaves; b
is drawn towards 1, and where experience misleads towards 0. So the past is the mean of the model
(the stacked regressors of Golovin et al. 2017), and what was measured here corrects it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from metatune.errors import InputError
from metatune.experience.past import PastTask, thinned
from metatune.optimizers.acquisition import expected_improvement, near, spread_out
from metatune.optimizers.adapt import carried_over
from metatune.optimizers.features import Features
from metatune.optimizers.memory import Memory
from metatune.optimizers.optimizer import in_sequence
from metatune.optimizers.past_ensemble import PastEnsemble
from metatune.optimizers.random import check_given, draw
from metatune.optimizers.stacked_model import StackedModel
from metatune.optimizers.surrogate import Surrogate
from metatune.optimizers.task_surrogate import outcome
from metatune.optimizers.threads import one_thread
from metatune.parameters import Value, Vectors
from metatune.space import Config
from metatune.study import Study
from metatune.trial import Suggestion, Trial, derive_seed

_SPREAD = 256
# Best configurations of each past task that are compared.
_BEST = 20
# Around so many configurations, tried and not, so many others are compared.
_CENTRES, _NEAR = 3, 16
# Finished trials that are learned from at most.
_MOST_KNOWN = 200
# Below this weight, experience was overruled.
_OVERRULED = 0.5


@dataclass
class SurrogateSearch:
    """Expected improvement under a `surrogate`, from past tasks and this task's trials.

    Until `startup_trials` have ended with a value, the past tasks alone are asked, and without any
    what is tried is spread out. Trials that failed count as twice as bad as the median, and those
    that run as ending as is expected. With `candidates` only these are proposed.
    """

    surrogate: Surrogate
    past: Sequence[PastTask] = field(default=(), repr=False)
    candidates: Sequence[Config] | None = field(default=None, repr=False)
    startup_trials: int = 4
    _choices: dict[str, _Choices] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.startup_trials < 2:
            raise InputError(f"startup_trials = {self.startup_trials!r} must be at least 2")

    def __str__(self) -> str:
        return f"{self.name} from {self.startup_trials} trials, {self.surrogate}"

    @property
    def name(self) -> str:
        """What it is called in suggestions: `surrogate-` and the kind."""
        return f"surrogate-{str(self.surrogate).partition('(')[0]}"

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer; raises ConfigurationError where `given` does not fit the space."""
        check_given(study.space, given)
        with one_thread():
            choices = self._choices_for(study, seed, given)

            def propose(known: Sequence[Trial], seed_of_call: int) -> Suggestion:
                return _Proposal(self, choices, known, seed_of_call).suggestion()

            return in_sequence(propose, study, trials, count, seed)

    def _choices_for(self, study: Study, seed: int, given: Mapping[str, Value]) -> _Choices:
        key = f"{study.space.id} {seed} {sorted(given.items())!r} {study.task!r}"
        if key not in self._choices:
            # The past tasks' surrogates, which take seconds, do not depend on what is given.
            same = [c.past for c in self._choices.values() if c.is_of(study)]
            features = Features(study.space, absent=math.nan)
            past = (
                same[0]
                if same
                else PastEnsemble.of(self.surrogate, self.past, study.task, study.space, features)
            )
            made = _Choices(past, features, study, seed, given, self.candidates)
            self._choices = {key: made}
        return self._choices[key]


def searching_with(surrogate: Surrogate) -> Callable[[Memory], SurrogateSearch]:
    """What makes a search with this surrogate from what is remembered."""
    return lambda memory: SurrogateSearch(surrogate, memory.sample())


class _Choices:
    """The configurations that every proposal of a study is compared with, and what past tasks
    expect of them: their best ones first, and then those spread out."""

    def __init__(
        self,
        past: PastEnsemble,
        features: Features,
        study: Study,
        seed: int,
        given: Mapping[str, Value],
        candidates: Sequence[Config] | None,
    ) -> None:
        self.past, self.features, self.given = past, features, given
        self.space, self.task, self.fixed = study.space, study.task, candidates is not None
        best: list[Config] = []
        if candidates is not None:
            spread = [c for c in candidates if all(c.get(n) == v for n, v in given.items())]
            if not spread:
                raise InputError(f"none of {len(candidates)} candidates has {dict(given)!r}")
            order = np.random.default_rng(derive_seed(seed, 0, 2)).permutation(len(spread))
            spread = [spread[row] for row in order]
        else:
            best = [c for c, _ in carried_over(study.space, past.best(_BEST), given)]
            spread = spread_out(study.space, _SPREAD, derive_seed(seed, 0, 2), given)
        self.measured = len(best)
        self.configs = best + spread
        self.points = features.of(self.configs)
        self.said = past.predict(self.points)

    def is_of(self, study: Study) -> bool:
        """Whether the past tasks say the same for `study`."""
        return study.space.id == self.space.id and study.task == self.task


class _Proposal:
    """What to try next, from everything known at that moment."""

    def __init__(
        self, search: SurrogateSearch, choices: _Choices, trials: Sequence[Trial], seed: int
    ) -> None:
        self._choices, self._trials, self._seed, self._name = choices, trials, seed, search.name
        finished = [trial for trial in trials if trial.state.finished]
        ranked = sorted(finished, key=lambda trial: (outcome(trial), trial.number))
        kept = [ranked[row] for row in thinned(len(ranked), _MOST_KNOWN)]
        pending = [trial for trial in trials if not trial.state.finished]
        self._best = [trial.config for trial in kept[:_CENTRES]]
        self._tried = {repr(trial.config) for trial in trials}
        self._pending = {repr(trial.config) for trial in pending}
        self._values = np.asarray([outcome(trial) for trial in kept])
        self._configs = [trial.config for trial in (*kept, *pending)]
        self._startup = search.startup_trials
        self._surrogate = search.surrogate

    def suggestion(self) -> Suggestion:
        """The configuration of greatest expected improvement among those compared that was not
        tried."""
        choices, finite = self._choices, int(np.isfinite(self._values).sum())
        is_hopeless = finite == 0 and len(self._values) >= self._startup
        if is_hopeless or (not len(choices.past) and finite < self._startup):
            return Suggestion(self._untried(), self._name)
        points = choices.features.of(self._configs).reshape(-1, choices.features.count)
        model = StackedModel.of(
            self._surrogate, choices.past, points, self._values, self._startup, self._seed
        )
        configs = choices.configs
        mean, deviation = model.predict(choices.points, choices.said)
        scores = self._scores(model, mean, deviation)
        if not choices.fixed and self._configs:
            nearby = self._nearby(scores)
            more = choices.features.of(nearby)
            others = model.predict(more, choices.past.predict(more))
            configs = configs + nearby
            mean, deviation = np.append(mean, others[0]), np.append(deviation, others[1])
            scores = np.append(scores, self._scores(model, *others))
        elif not self._configs and choices.measured:
            scores = scores[: choices.measured]  # first of all, what is known to be good elsewhere
        chosen = self._first(configs[: len(scores)], scores)
        return self._told(model, configs[chosen], float(mean[chosen]), float(deviation[chosen]))

    def _scores(self, model: StackedModel, mean: Vectors, deviation: Vectors) -> Vectors:
        if model.best is None:
            return -mean
        return expected_improvement(mean, deviation, model.best)

    def _first(self, configs: Sequence[Config], scores: Vectors) -> int:
        """The one of greatest score; what was tried comes after all else, and what runs last."""
        tried = np.asarray([repr(config) in self._tried for config in configs])
        running = np.asarray([repr(config) in self._pending for config in configs])
        set_back = (2.0 * float(np.ptp(scores)) + 1.0) * (1.0 * tried + running)
        return int(np.argmax(scores - set_back))

    def _untried(self) -> Config:
        """The first of those spread out that was not tried; else a random one, if any will do."""
        choices = self._choices
        for seen in (self._tried, self._pending):
            for config in choices.configs[choices.measured :]:
                if repr(config) not in seen:
                    return config
            if not choices.fixed:
                return draw(choices.space, self._trials, self._seed, choices.given).config
        return choices.configs[0]

    def _nearby(self, scores: Vectors) -> list[Config]:
        """Configurations around those of best score, and around the best that were tried."""
        choices = self._choices
        most = np.argsort(-scores, kind="stable")[:_CENTRES]
        centres = [choices.configs[row] for row in most] + self._best
        rng = np.random.default_rng(self._seed)
        return [
            config
            for centre in centres
            for config in near(choices.space, centre, _NEAR, rng, choices.given)
        ]

    def _told(
        self, model: StackedModel, config: Config, mean: float, deviation: float
    ) -> Suggestion:
        shares: dict[str, float] = {}
        for kept, weight in zip(self._choices.past.samples, model.weights.tolist(), strict=True):
            if weight * model.share > 0.0:
                shares[kept.task.name] = shares.get(kept.task.name, 0.0) + weight * model.share
        unit = model.unit
        return Suggestion(
            config,
            self._name,
            tasks=shares,
            predicted=None if unit is None else unit.centre + unit.spread * mean,
            uncertainty=None if unit is None else unit.spread * deviation,
            guarded=len(self._choices.past) > 0 and model.share < _OVERRULED,
        )
