"""A sampler at work on one study: what it plans and records, also where the store fails."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from metatune.errors import ExperienceWarning, MetatuneError
from metatune.experience.marks import mark_of
from metatune.experience.store import ExperienceStore
from metatune.optuna_plugin.experience import Experience
from metatune.optuna_plugin.frozen_trials import config_of, trial_of, write_plan
from metatune.optuna_plugin.history import StudyHistory
from metatune.optuna_plugin.plan import Plan
from metatune.optuna_plugin.recording import Recorder
from metatune.optuna_plugin.search import Search
from metatune.space import SearchSpace
from metatune.task import Task
from metatune.trial import Suggestion

# What proposed the trials that were not planned.
_DELEGATE = "tpe"


class Attachment:
    """One study, what was known when the sampler met it, and what becomes known.

    Where the store fails, the rest of the study is searched without memory, or not recorded, with
    a warning each: what was tried stays in Optuna's storage.
    """

    def __init__(
        self,
        study: optuna.Study,
        store: ExperienceStore,
        task: Task,
        seed: int,
        space: SearchSpace | None,
    ) -> None:
        self._task = task
        self._storage, self._study_id = study._storage, study._study_id
        self._history = StudyHistory(study.study_name, self._task)
        self._recorder: Recorder | None = None
        self._search: Search | None = None
        self._proposing: dict[int, float] = defaultdict(float)
        trials = self._trials()
        began = next((trial.datetime_start for trial in trials if trial.number == 0), None)
        mark = mark_of(study.study_name, began)
        try:
            experience = Experience(store, self._task.name, mark)
            if experience:
                self._search = Search(self._task, experience, self._history, seed, space)
            pruner = type(study.pruner).__name__
            self._recorder = Recorder(store, mark, self._task, seed, pruner, trials)
        except MetatuneError as error:
            self._search = None
            _warn(f"study {study.study_name!r}: neither searched with memory nor recorded: {error}")

    def is_of(self, study: optuna.Study) -> bool:
        """Whether this is about `study`."""
        return self._storage is study._storage and self._study_id == study._study_id

    def begin(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Plan a trial if its space is known, and mark it as one that is recorded from here."""
        if self._search is not None:
            try:
                with self._timed(trial):
                    self._search.begin(study, trial, self._trials())
            except MetatuneError as error:
                self._forget(error)
        if self._recorder is not None and self.plan(trial) is None:
            write_plan(self._storage, trial, {})

    def plan(self, trial: FrozenTrial) -> Plan | None:
        """What is planned for a trial, if anything."""
        return self._search.plan(trial.number) if self._search is not None else None

    def propose(
        self, study: optuna.Study, trial: FrozenTrial, name: str, asked: BaseDistribution
    ) -> tuple[Any, bool]:
        """A value for a parameter, or (None, False) where there is nothing to learn from."""
        if self._search is None:
            return None, False
        try:
            with self._timed(trial):
                return self._search.propose(study, trial, name, asked)
        except MetatuneError as error:
            self._forget(error)
            return None, False

    def end(self, trial: FrozenTrial, state: OptunaState, values: Sequence[float] | None) -> None:
        """Take in how a trial ended, and record it."""
        plan = self._search.end(trial.number) if self._search is not None else None
        proposing = self._proposing.pop(trial.number, 0.0)
        if self._recorder is None:
            return
        trials = self._trials()
        self._history.refresh(trials)
        self._history.end(trial, state, values)
        if self._search is not None:
            self._search.assume()
        space = self._history.observed.space()
        if space is None:
            return  # a trial without parameters
        config = config_of(trial)
        made = Suggestion(config, _DELEGATE) if plan is None else plan.suggestion
        made = replace(made, config=config)
        own = trial_of("", trial, state, values, made, proposing=proposing)
        learned = self._search.learned(space) if self._search is not None else None
        try:
            self._recorder.record(own, space, trials, self._history.ended, learned)
        except MetatuneError as error:
            self._recorder = None
            _warn(f"trials from number {trial.number} on are not recorded: {error}")

    @contextmanager
    def _timed(self, trial: FrozenTrial) -> Iterator[None]:
        """Count as time of proposing, which Optuna counts as the trial's own."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._proposing[trial.number] += time.monotonic() - start

    def _trials(self) -> list[FrozenTrial]:
        """All trials, as they are in the storage or its cache."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _forget(self, error: MetatuneError) -> None:
        self._search = None
        _warn(f"study {self._history.name!r} is searched on without memory: {error}")


def _warn(message: str) -> None:
    warnings.warn(message, ExperienceWarning, stacklevel=5)
