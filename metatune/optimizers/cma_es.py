"""CMA-ES over the whole space, categorical and conditional parameters included."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import cmaes
import numpy as np
import numpy.typing as npt

from metatune.optimizers.adapt import carry
from metatune.optimizers.optimizer import in_sequence, is_pending
from metatune.optimizers.random import check_given, draw
from metatune.parameters import Categorical, Parameter, Value, Vectors
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial, TrialState

# Standard deviation of the first generation: a sixth of the range, as in Optuna's CmaEsSampler.
_SIGMA = 1.0 / 6.0


@dataclass(frozen=True)
class CMAES:
    """Covariance matrix adaptation (Hansen 2016) with categorical parameters (CatCMA with margin,
    Hamano et al. 2025), by the package `cmaes`, which Optuna's own sampler runs too.

    Optuna keeps the strategy's state in attributes of the trials that it asked for itself, so that
    trials told from outside never advance it. But `tell` draws no random numbers: the state is a
    function of the generations told alone. So here a generation is the next `population_size`
    trials in the order in which they ended, whoever proposed them, and replaying the tells rebuilds
    the state exactly. COMPLETE trials rank by value and partial ones behind them, by step and
    value; what failed or has no finite value is left out.

    Numbers and ordered choices are positions in [0, 1] under the normal distribution; other
    choices have probabilities. A parameter that a trial does not have is drawn from the current
    distribution, so that it pulls nowhere. `given` values replace those asked for.
    """

    # Taken out while in use, so that threads never share a strategy.
    _cache: deque[_Strategy] = field(
        default_factory=partial(deque, maxlen=1), init=False, repr=False, compare=False
    )

    def __str__(self) -> str:
        return "cmaes"

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer; raises ConfigurationError where `given` does not fit the space.

        What is already running is not proposed again: a random configuration takes its place.
        """
        check_given(study.space, given)

        def propose(known: Sequence[Trial], seed_of_call: int) -> Suggestion:
            strategy = self._strategy(study.space, known, seed)
            config = strategy.ask(seed_of_call, given)
            self._cache.append(strategy)
            if is_pending(config, known):
                return draw(study.space, known, seed_of_call, given)
            return Suggestion(config, "cmaes")

        return in_sequence(propose, study, trials, count, seed)

    def _strategy(self, space: SearchSpace, trials: Sequence[Trial], seed: int) -> _Strategy:
        try:
            strategy = self._cache.pop()
        except IndexError:
            strategy = _Strategy(space, seed)
        same = strategy.space.id == space.id and strategy.seed == seed
        if not same or not strategy.tell(trials):
            strategy = _Strategy(space, seed)
            strategy.tell(trials)
        return strategy


class _Strategy:
    """CatCMA over the vectors of a space, told trials generation by generation."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.seed = seed
        parameters = list(space.parameters.values())
        self._unordered = np.asarray([_choices(p) > 0 for p in parameters])
        self._choices = [_choices(p) for p in parameters if _choices(p)]
        numbers = len(parameters) - len(self._choices)
        self._told: list[Trial] = []
        self._cma = cmaes.CatCMAwM(
            x_space=[[0.0, 1.0]] * numbers or None,
            c_space=self._choices or None,
            sigma=_SIGMA if numbers else None,
            cov=np.eye(numbers) if numbers else None,
        )

    def tell(self, trials: Sequence[Trial]) -> bool:
        """Go on from what was told before to `trials`; False if they contradict it."""
        ended = sorted((t for t in trials if _rank(t) is not None), key=_order)
        size = self._cma.population_size
        whole = len(ended) // size * size
        told = self._told
        if whole < len(told) or any(
            old is not new and old != new for old, new in zip(told, ended, strict=False)
        ):
            return False
        for start in range(len(told), whole, size):
            generation = ended[start : start + size]
            told.extend(generation)
            # Ranks in place of values: ties and huge values are nothing special then.
            generation.sort(key=lambda trial: _rank(trial) or ())
            self._cma.tell([(self._solution(t), float(r)) for r, t in enumerate(generation)])
        return True

    def ask(self, seed: int, given: Mapping[str, Value]) -> Config:
        """A configuration from the current distribution, with the `given` values put in."""
        self._cma.reseed_rng(seed)
        solution = self._cma.ask()
        vector = np.empty(len(self.space))
        if solution.x is not None:
            vector[~self._unordered] = solution.x
        if solution.c is not None:
            chosen = np.argmax(solution.c, axis=1)
            vector[self._unordered] = (chosen + 0.5) / np.asarray(self._choices)
        position = dict(zip(self.space.parameters, vector, strict=True))
        return self.space.build(
            lambda name, parameter: (
                given[name] if name in given else parameter.from_unit(float(position[name]))
            )
        )

    def _solution(self, trial: Trial) -> cmaes.CatCMAwM.Solution:
        vector = carry(self.space, trial.config)
        rng = np.random.default_rng([self.seed, trial.number])
        x = c = None
        if not self._unordered.all():
            x = self._near(vector[~self._unordered], rng)
        if self._choices:
            c = self._one_hot(vector[self._unordered], rng)
        return cmaes.CatCMAwM.Solution(x=x, c=c, _v_raw=x)

    def _near(self, x: Vectors, rng: np.random.Generator) -> Vectors:
        """Positions [n], missing ones drawn, moved within reach of the distribution.

        A point from outside could throw the step size off, so its Mahalanobis length is bounded
        (Hansen 2011, Injecting external solutions into CMA-ES, eq. 4 and table 1).
        """
        cma = self._cma
        spread = cma._sigma * np.sqrt(np.diag(cma._C))
        drawn = np.clip(cma._mean + spread * rng.standard_normal(len(x)), 0.0, 1.0)
        step = np.where(np.isnan(x), drawn, x) - cma._mean
        basis, lengths = cma._eigen_decomposition()
        length = float(np.linalg.norm(basis.T @ step / (cma._sigma * lengths)))
        reach = math.sqrt(len(x)) + 2.0 * len(x) / (len(x) + 2.0)
        moved: Vectors = cma._mean + step * min(1.0, reach / max(length, 1e-12))
        return moved

    def _one_hot(self, vector: Vectors, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """Choices [m, most choices] of the positions [m] of unordered parameters."""
        one_hot = np.zeros((len(self._choices), max(self._choices)), dtype=bool)
        for row, (position, count) in enumerate(zip(vector, self._choices, strict=True)):
            if math.isnan(position):
                probabilities = self._cma._q[row, :count]
                index = rng.choice(count, p=probabilities / probabilities.sum())
            else:
                index = int(position * count)
            one_hot[row, index] = True
        return one_hot


def _choices(parameter: Parameter) -> int:
    """How many choices get probabilities: all of an unordered parameter's, or two of any."""
    if not isinstance(parameter, Categorical):
        return 0
    count = len(parameter.choices)
    return count if count == 2 or (count > 2 and not parameter.ordered) else 0


def _order(trial: Trial) -> tuple[int, int]:
    index = trial.number if trial.finished_index is None else trial.finished_index
    return index, trial.number


def _rank(trial: Trial) -> tuple[int, float, float] | None:
    """What a trial is ranked by, lower is better; None where it is left out."""
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return (0, 0.0, trial.value) if math.isfinite(trial.value) else None
    if trial.state.is_partial and trial.curve:
        last = trial.curve[-1]
        return (1, -float(last.step), last.value) if math.isfinite(last.value) else None
    return None
