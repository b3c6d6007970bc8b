"""Optuna's TPE and Gaussian process, given the declared space.

Left alone, Optuna infers the space that it samples jointly as the intersection of the parameters
of past trials. A single condition empties it of every conditional parameter, which are then drawn
at random for ever. Here the samplers are Optuna's own, but the space is ours, and each of them
treats conditions in the way that suits it.

A sampler is made anew for each call, from the call's seed. Kept between calls is the Optuna study
that was told our trials, as a cache only: it is used where what it was told is a beginning of the
trials at hand and built again where not, so that the proposals do not depend on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from optuna._gp.acqf import BaseAcquisitionFunc
from optuna.samplers import GPSampler, TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.probability_distributions import _BatchedCategoricalDistributions
from optuna.trial import TrialState as OptunaState

from metatune.errors import InputError
from metatune.optimizers.adapt import nearest, understands
from metatune.optimizers.optimizer import in_sequence, is_pending
from metatune.optimizers.optuna_history import (
    OptunaHistory,
    from_optuna,
    outcome,
    quiet,
    to_optuna,
)
from metatune.optimizers.random import check_given, draw
from metatune.parameters import Categorical, Parameter, Value, Vectors
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _OptunaSampler(ABC):
    """Random until `startup_trials` trials can be learned from, then a sampler of Optuna's."""

    startup_trials: int = 10
    # Taken out while in use, so that threads never share a history.
    _cache: deque[OptunaHistory] = field(
        default_factory=partial(deque, maxlen=1), init=False, repr=False, compare=False
    )

    _name: ClassVar[str]
    _filled: ClassVar[bool]
    _learned_from: ClassVar[tuple[OptunaState, ...]]

    def __post_init__(self) -> None:
        if self.startup_trials < 1:
            raise InputError(f"startup_trials = {self.startup_trials!r} must be at least 1")

    def __str__(self) -> str:
        return f"{self._name}(startup={self.startup_trials})"

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

        def propose(known: Sequence[Trial], seed: int) -> Suggestion:
            history = self._history(study.space, self._told(study.space, known, given))
            ready = history.count(self._learned_from) >= self.startup_trials
            config = self._sample(history, seed, given) if ready else None
            self._cache.append(history)
            if config is None or is_pending(config, known):
                return draw(study.space, known, seed, given)
            return Suggestion(config, self._name)

        return in_sequence(propose, study, trials, count, seed)

    def _history(self, space: SearchSpace, trials: Sequence[Trial]) -> OptunaHistory:
        try:
            history = self._cache.pop()
        except IndexError:
            history = OptunaHistory(space, self._filled)
        if history.space.id != space.id or not history.tell(trials):
            history = OptunaHistory(space, self._filled)
            history.tell(trials)
        return history

    def _told(
        self, space: SearchSpace, trials: Sequence[Trial], given: Mapping[str, Value]
    ) -> Sequence[Trial]:
        return trials

    @abstractmethod
    def _sample(self, history: OptunaHistory, seed: int, given: Mapping[str, Value]) -> Config: ...


@dataclass(frozen=True)
class TPE(_OptunaSampler):
    """Multivariate tree-structured Parzen estimator (Bergstra et al. 2011; Falkner et al. 2018).

    Conditions by the chain rule: parameters under the same condition are one group. The groups
    that exist are sampled in order, each jointly with the earlier ones, whose values are held
    fixed, from the trials that have all of them. So a child is learned together with its parents.

    `given` values are held fixed in the same way, and what is a good trial is then a matter of
    rank among those with like values of the given parameters (see `_ranked_among_like`). Optuna's
    constant liar counts RUNNING trials among the bad ones; PRUNED ones rank behind COMPLETE ones,
    by step and value.
    """

    _name = "tpe"
    _filled = False
    _learned_from = (OptunaState.COMPLETE, OptunaState.PRUNED)

    def _told(
        self, space: SearchSpace, trials: Sequence[Trial], given: Mapping[str, Value]
    ) -> Sequence[Trial]:
        return _ranked_among_like(space, trials, list(given)) if given else trials

    def _sample(self, history: OptunaHistory, seed: int, given: Mapping[str, Value]) -> Config:
        space = history.space
        known = {name: to_optuna(space.parameters[name], value) for name, value in given.items()}
        sampler = TPESampler(seed=seed, n_startup_trials=0)
        sampler._parzen_estimator_cls = partial(_Conditioned, known)  # type: ignore[assignment]
        groups = _groups(space)
        sampled: list[str] = []
        with history.asking(sampler) as asking:

            def choose(name: str, parameter: Parameter) -> Value:
                if name not in sampled:
                    group = groups[name]
                    sampled.extend(group)
                    if not known.keys() >= set(group):
                        known.update(asking.ask(sampled))
                return given[name] if name in given else from_optuna(parameter, known[name])

            return space.build(choose)


def _groups(space: SearchSpace) -> dict[str, list[str]]:
    """Each parameter's group: all those that exist under exactly the same condition."""
    groups: dict[str, list[str]] = {}
    for name in space.parameters:
        condition = repr(sorted(space.when.get(name, {}).items()))
        groups.setdefault(condition, []).append(name)
    return {name: group for group in groups.values() for name in group}


def _ranked_among_like(
    space: SearchSpace, trials: Sequence[Trial], names: Sequence[str]
) -> list[Trial]:
    """The trials with the value of each COMPLETE one replaced by its rank in (0, 1) among those
    with the same choices, and numbers in the same quarter of their range, for parameters `names`.

    Otherwise the good trials would be those whose given values are good, whatever the rest.
    """
    like: dict[tuple[float, ...], list[int]] = {}
    for index, trial in enumerate(trials):
        if outcome(trial).state is OptunaState.COMPLETE:
            like.setdefault(_likeness(space, trial.config, names), []).append(index)
    ranked = list(trials)
    for indices in like.values():
        indices.sort(key=lambda index: trials[index].value or 0.0)
        for rank, index in enumerate(indices):
            ranked[index] = replace(trials[index], value=(rank + 0.5) / len(indices))
    return ranked


def _likeness(space: SearchSpace, config: Config, names: Sequence[str]) -> tuple[float, ...]:
    """Equal for configurations that are alike in the parameters `names`."""
    cells = []
    for name in names:
        parameter = space.parameters[name]
        if name not in config or not understands(parameter, config[name]):
            cells.append(-1.0)
        else:
            u = parameter.to_unit(nearest(parameter, config[name]))
            cells.append(u if isinstance(parameter, Categorical) else min(int(u * 4.0), 3))
    return tuple(cells)


class _Conditioned(_ParzenEstimator):
    """Proposes candidates with some values held fixed, for Optuna to compare l(x) / g(x) there."""

    def __init__(self, fixed: Mapping[str, float], *args: Any) -> None:
        super().__init__(*args)
        self._fixed = fixed

    def sample(self, rng: np.random.RandomState, size: int) -> dict[str, Vectors]:
        """`size` candidates from the mixture given the fixed values: name -> [size]."""
        columns = {n: i for i, n in enumerate(self._search_space) if n in self._fixed}
        if not columns:
            return super().sample(rng, size)
        mixture = self._mixture_distribution
        fits = sum(
            _log_kernels(mixture.distributions[column], float(self._fixed[name]))
            for name, column in columns.items()
        )
        weights = mixture.weights * np.exp(fits - np.max(fits))
        conditional = mixture._replace(weights=weights / weights.sum())
        candidates = self._untransform(conditional.sample(rng, size))
        return candidates | {name: np.full(size, float(self._fixed[name])) for name in columns}


def _log_kernels(kernels: Any, value: float) -> Vectors:
    """Log density [kernels] of `value` under each kernel of one parameter, up to a constant."""
    if isinstance(kernels, _BatchedCategoricalDistributions):
        log: Vectors = np.log(kernels.weights[:, int(value)])
    else:
        at = np.log(value) if kernels.is_log else value
        log = -0.5 * ((at - kernels.mu) / kernels.sigma) ** 2 - np.log(kernels.sigma)
    return log


@dataclass(frozen=True)
class GP(_OptunaSampler):
    """Gaussian process with Matern 5/2 kernel and log expected improvement (Ament et al. 2023).

    Conditions by projection: the process is fitted on vectors of the whole space, inactive
    parameters at the centre of their range, and the acquisition function sees every candidate
    with its inactive parameters moved there and its `given` ones held fixed. It so values what
    would really be tried. Optuna's process learns from COMPLETE trials and conditions on RUNNING
    ones; it leaves PRUNED ones out.
    """

    _name = "gp"
    _filled = True
    _learned_from = (OptunaState.COMPLETE,)

    def _sample(self, history: OptunaHistory, seed: int, given: Mapping[str, Value]) -> Config:
        space = history.space
        # Said at every step once a study has converged, and where greenlet is not installed.
        with (
            quiet("optuna._gp.optim_mixed", "optuna._gp.batched_lbfgsb"),
            history.asking(_ProjectingGPSampler(space, given, seed)) as asking,
        ):
            values = asking.ask(space.names)
        return space.build(
            lambda name, parameter: (
                given[name] if name in given else from_optuna(parameter, values[name])
            )
        )


class _ProjectingGPSampler(GPSampler):
    def __init__(self, space: SearchSpace, given: Mapping[str, Value], seed: int) -> None:
        super().__init__(seed=seed, n_startup_trials=0)
        self._space = space
        self._given = given

    def _optimize_acqf(self, acqf: BaseAcquisitionFunc, best_params: Vectors | None) -> Vectors:
        if self._given or self._space.when:
            acqf = _Projected(acqf, self._space, self._given)
        return super()._optimize_acqf(acqf, best_params)


class _Projected(BaseAcquisitionFunc):
    """An acquisition function of the configuration that a vector stands for.

    Optuna's vectors are positions in [0, 1] as ours are, but for categorical parameters, where
    they are the index of a choice.
    """

    def __init__(
        self, inner: BaseAcquisitionFunc, space: SearchSpace, given: Mapping[str, Value]
    ) -> None:
        super().__init__(inner.length_scales, inner.search_space)
        self._inner = inner
        self._space = space
        parameters = space.parameters
        is_categorical = inner.search_space.is_categorical
        self._choices = np.asarray(
            [
                len(p.choices) if isinstance(p, Categorical) and categorical else 0
                for p, categorical in zip(parameters.values(), is_categorical, strict=True)
            ]
        )
        middle = {name: p.from_unit(0.5) for name, p in parameters.items()}
        self._centre = self._vector(middle)
        self._fixed = self._vector({**middle, **given})
        self._is_fixed = np.asarray([name in given for name in parameters])

    def eval_acqf(self, x: torch.Tensor) -> torch.Tensor:
        """Values [...] at vectors [..., d]."""
        import torch  # heavy, and no other sampler needs it

        vectors = x.detach().numpy().reshape(-1, len(self._space))
        vectors = np.where(self._is_fixed, self._fixed, vectors)
        positions = (vectors + 0.5) / np.maximum(self._choices, 1)
        active = self._space.active(np.where(self._choices, positions, vectors))
        constant = torch.from_numpy(np.where(active, vectors, self._centre)).reshape(x.shape)
        free = torch.from_numpy(active & ~self._is_fixed).reshape(x.shape)
        return self._inner.eval_acqf(torch.where(free, x, constant))

    def _vector(self, values: Mapping[str, Value]) -> Vectors:
        """Optuna's vector [d] of a value for every parameter."""
        positions = [p.to_unit(values[name]) for name, p in self._space.parameters.items()]
        vector = np.asarray(positions)
        return np.where(self._choices, np.floor(vector * self._choices), vector)
