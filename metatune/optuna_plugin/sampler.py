"""An Optuna sampler that starts from what earlier studies learned."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from metatune.errors import ExperienceWarning, InputError
from metatune.experience.store import ExperienceStore
from metatune.optuna_plugin.attachment import Attachment
from metatune.optuna_plugin.frozen_trials import direction_of, metric_of
from metatune.optuna_plugin.observed_space import ObservedSpace
from metatune.space import SearchSpace
from metatune.task import Task

DEFAULT_STORE = "~/.metatune"


class MetaSampler(BaseSampler):
    """Proposes from the experience of earlier studies, and adds what this one shows to it.

    Where the store has studies with parameters of the same names, each trial is planned as a whole
    by the learned optimizer, the first one included. Without, everything is left to one
    `TPESampler(seed)`, whose proposals are then the same as its own.

    `store` is where experience is kept, a folder or an `s3://` address. `task` names what is
    searched, by default as the study is called, and `metafeatures` describe its data in numbers, by
    which alike tasks are found. `metric` names the objective's value, by default as
    `study.set_metric_names` did. `space` says what will be asked for, where the first trial should
    know it before it asks.

    Trials that violate a constraint count as failed. Studies of several objectives are left to
    Optuna's sampler, with one warning. Raises InputError for settings that cannot be, and
    StoreAddressError for a store that cannot be written; if that fails later, trials are only kept
    where Optuna keeps them, with one warning, and recorded when the study is next gone on with.
    """

    def __init__(
        self,
        store: str | Path | ExperienceStore = DEFAULT_STORE,
        task: str | None = None,
        *,
        seed: int | None = None,
        metric: str | None = None,
        metafeatures: Mapping[str, float] | None = None,
        space: SearchSpace | Mapping[str, BaseDistribution] | None = None,
    ) -> None:
        _check(seed, task, metric, metafeatures or {})
        self._store = store if isinstance(store, ExperienceStore) else ExperienceStore(store)
        self._store.check_writable()
        self._task, self._metric = task, metric
        self._metafeatures = {key: float(value) for key, value in (metafeatures or {}).items()}
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._space = _declared(space)
        self._tpe = TPESampler(seed=seed)
        self._attachment: Attachment | None = None
        self._warned = False
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy goes on with; what is known of the study is found again."""
        state = {**self.__dict__, "_store": self._store.uri, "_attachment": None}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_store": ExperienceStore(state["_store"])}
        self._lock = threading.RLock()

    def reseed_rng(self) -> None:
        """See BaseSampler."""
        self._tpe.reseed_rng()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Plan the trial, if it is known by now what it will ask for."""
        self._tpe.before_trial(study, trial)
        attachment = self._attach(study)
        if attachment is not None:
            with self._lock:
                attachment.begin(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing where the trial is planned, as planned values are given one by one; else what
        Optuna's sampler infers."""
        attachment = self._attach(study)
        if attachment is not None and attachment.plan(trial) is not None:
            return {}
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What Optuna's sampler draws for the space that it inferred."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The planned value of a parameter, or what Optuna's sampler draws where none is."""
        attachment = self._attach(study)
        if attachment is not None:
            with self._lock:
                value, known = attachment.propose(study, trial, param_name, param_distribution)
            if known:
                return value
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: OptunaState,
        values: Sequence[float] | None,
    ) -> None:
        """Record the trial."""
        self._tpe.after_trial(study, trial, state, values)
        attachment = self._attach(study)
        if attachment is not None:
            with self._lock:
                attachment.end(trial, state, values)

    def _attach(self, study: optuna.Study) -> Attachment | None:
        """What is known of the study; None where it has several objectives."""
        if study._is_multi_objective():
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"study {study.study_name!r} has several objectives, and metatune learns from "
                    f"one: Optuna's own sampler proposes, and nothing is recorded",
                    ExperienceWarning,
                    stacklevel=5,
                )
            return None
        with self._lock:
            if self._attachment is None or not self._attachment.is_of(study):
                task = Task(
                    self._task or study.study_name,
                    self._metric or metric_of(study),
                    direction_of(study),
                    metafeatures=self._metafeatures,
                )
                self._attachment = Attachment(study, self._store, task, self._seed, self._space)
            return self._attachment


def _check(
    seed: int | None, task: str | None, metric: str | None, metafeatures: Mapping[str, float]
) -> None:
    is_whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if seed is not None and not (is_whole and 0 <= seed < 2**32):
        raise InputError(f"seed = {seed!r} must be a whole number from 0 to 2**32 - 1")
    for key, name in (("task", task), ("metric", metric)):
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise InputError(f"{key} = {name!r} must be a name")
    for key, value in metafeatures.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise InputError(f"metafeatures: {key} = {value!r} must be a finite number")


def _declared(space: SearchSpace | Mapping[str, BaseDistribution] | None) -> SearchSpace | None:
    if space is None or isinstance(space, SearchSpace):
        return space
    if not isinstance(space, Mapping):
        raise InputError(f"space = {space!r} must be a SearchSpace or distributions by name")
    for name, distribution in space.items():
        if not isinstance(distribution, BaseDistribution):
            raise InputError(f"space: {name} = {distribution!r} must be a distribution of Optuna's")
    observed = ObservedSpace()
    observed.add(space, {}, whole=False)
    return observed.space()
