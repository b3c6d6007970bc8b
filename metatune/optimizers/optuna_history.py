"""Our trials as Optuna sees them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from metatune.optimizers.adapt import nearest, understands
from metatune.parameters import Categorical, Float, Integer, Parameter, Value
from metatune.space import SearchSpace
from metatune.trial import Trial, TrialState

# Optuna's Gaussian process lists every value of an integer: wide ones are told as positions.
_MOST_CELLS = 10_000
# Optuna's Gaussian process squares values.
_LARGEST = 1e100
_STUDY = "metatune"


def distribution(parameter: Parameter) -> BaseDistribution:
    """The parameter in Optuna's words: choices by index, ordered ones as whole numbers."""
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, Integer):
        if _is_wide(parameter):
            return FloatDistribution(0.0, 1.0)
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    count = len(parameter.choices)
    if parameter.ordered and count > 1:
        return IntDistribution(0, count - 1)
    return CategoricalDistribution(tuple(range(count)))


def to_optuna(parameter: Parameter, value: Value) -> float:
    """What stands for `value` in `distribution(parameter)`."""
    u = parameter.to_unit(value)
    if isinstance(parameter, Categorical):
        return int(u * len(parameter.choices))
    return u if _is_wide(parameter) or not isinstance(value, int | float) else value


def from_optuna(parameter: Parameter, value: float) -> Value:
    """The inverse of `to_optuna`, with floats on the grid of `Float.from_unit`."""
    if isinstance(parameter, Categorical):
        return parameter.choices[int(value)]
    if _is_wide(parameter):
        return parameter.from_unit(min(max(value, 0.0), 1.0))
    return parameter.from_unit(parameter.to_unit(nearest(parameter, value)))


def _is_wide(parameter: Parameter) -> bool:
    return isinstance(parameter, Integer) and parameter.high - parameter.low > _MOST_CELLS


@dataclass(frozen=True)
class Outcome:
    """How a trial stands, in Optuna's words: `curve` is value by step, told where it counts."""

    state: OptunaState
    value: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)


def outcome(trial: Trial) -> Outcome:
    """COMPLETE with a finite value and PRUNED after a finite report are told as that, UNKNOWN as
    PRUNED; whatever else has ended is told as FAIL, which all of Optuna's samplers leave out."""
    if trial.state is TrialState.RUNNING:
        return Outcome(OptunaState.RUNNING)
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        if math.isfinite(trial.value):
            return Outcome(OptunaState.COMPLETE, min(max(trial.value, -_LARGEST), _LARGEST))
    elif trial.state.is_partial and trial.curve and math.isfinite(trial.curve[-1].value):
        curve = {r.step: r.value for r in trial.curve if math.isfinite(r.value)}
        return Outcome(OptunaState.PRUNED, curve=curve)
    return Outcome(OptunaState.FAIL)


@dataclass(frozen=True)
class _Told:
    trial: Trial
    id: int
    params: Mapping[str, float]
    outcome: Outcome


class OptunaHistory:
    """An Optuna study in memory that is told the trials of one of ours.

    `filled` tells inactive parameters too, at the centre of their range: a Gaussian process needs
    vectors of one length. What a trial has outside `space` is moved into it or left out.
    """

    def __init__(self, space: SearchSpace, filled: bool) -> None:
        self.space = space
        self._distributions = {n: distribution(p) for n, p in space.parameters.items()}
        parameters = space.parameters if filled else {}
        self._fill = {n: to_optuna(p, p.from_unit(0.5)) for n, p in parameters.items()}
        self._told: list[_Told] = []
        self._storage = InMemoryStorage()
        with quiet("optuna.storages._in_memory"):
            self._study_id = self._storage.create_new_study([StudyDirection.MINIMIZE], _STUDY)

    def tell(self, trials: Sequence[Trial]) -> bool:
        """Go on from what was told before to `trials`; False if they contradict it, and the
        history is of no more use."""
        if len(trials) < len(self._told):
            return False
        for index, trial in enumerate(trials):
            if index == len(self._told):
                self._told.append(self._add(trial))
            elif trial is not self._told[index].trial and trial != self._told[index].trial:
                again = self._update(self._told[index], trial)
                if again is None:
                    return False
                self._told[index] = again
        return True

    def count(self, states: Sequence[OptunaState]) -> int:
        """How many of the trials told are in one of `states`."""
        return sum(told.outcome.state in states for told in self._told)

    @contextmanager
    def asking(self, sampler: BaseSampler) -> Iterator[Asking]:
        """Ask `sampler` for one new trial, which counts for nothing (is told as FAIL) after."""
        study = optuna.load_study(study_name=_STUDY, storage=self._storage, sampler=sampler)
        trial_id = self._storage.create_new_trial(self._study_id)
        yield Asking(study, self._storage.get_trial(trial_id), self._distributions)
        self._storage.set_trial_state_values(trial_id, OptunaState.FAIL)

    def _params(self, trial: Trial) -> dict[str, float]:
        params = dict(self._fill)
        for name, parameter in self.space.parameters.items():
            if name in trial.config and understands(parameter, trial.config[name]):
                params[name] = to_optuna(parameter, nearest(parameter, trial.config[name]))
        return params

    def _add(self, trial: Trial) -> _Told:
        params, how = self._params(trial), outcome(trial)
        template = create_trial(
            state=how.state,
            value=how.value,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            intermediate_values=dict(how.curve),
        )
        return _Told(trial, self._storage.create_new_trial(self._study_id, template), params, how)

    def _update(self, old: _Told, trial: Trial) -> _Told | None:
        how = outcome(trial)
        if self._params(trial) != old.params:
            return None
        if how != old.outcome:
            if old.outcome.state is not OptunaState.RUNNING:
                return None
            for step, value in how.curve.items():
                self._storage.set_trial_intermediate_value(old.id, step, value)
            values = None if how.value is None else [how.value]
            self._storage.set_trial_state_values(old.id, how.state, values)
        return _Told(trial, old.id, old.params, how)


@dataclass(frozen=True)
class Asking:
    """One new trial of an Optuna study, whose parameters may be asked for in several parts."""

    study: optuna.Study
    trial: FrozenTrial
    distributions: Mapping[str, BaseDistribution]

    def ask(self, names: Sequence[str]) -> dict[str, float]:
        """What the study's sampler proposes for the parameters `names` together."""
        space = {name: self.distributions[name] for name in names}
        return self.study.sampler.sample_relative(self.study, self.trial, space)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep some of Optuna's loggers from saying what is no news here."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
