"""Adding what a study of Optuna's shows to the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from optuna.trial import FrozenTrial

from metatune.experience.store import ExperienceStore
from metatune.optuna_plugin.experience import Learned
from metatune.optuna_plugin.frozen_trials import config_of, has_plan, trial_of
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Suggestion, Trial

_OPTIMIZER = "MetaSampler"
# What proposed the trials that no sampler of ours did.
_OTHER = "optuna"


class Recorder:
    """Appends trials to a store, under one study for each space that was observed.

    A study in the store has one space for ever, while that of an Optuna study grows. So the names
    of its studies are the task's, `mark`, and the id of a space. Trials keep Optuna's numbers.

    Each process records the trials that it runs, and has marked as its own when they began. Those
    that had ended without a record when this was made, and those of other samplers, are recorded
    too. Raises StoreError where the store cannot be read.
    """

    def __init__(
        self,
        store: ExperienceStore,
        mark: str,
        task: Task,
        seed: int,
        pruner: str,
        trials: Sequence[FrozenTrial],
    ) -> None:
        self._store, self._mark, self._task = store, mark, task
        self._seed, self._pruner = seed, pruner
        self._put: dict[str, Study] = {}
        self._versions = {package: version(package) for package in ("metatune", "optuna")}
        self._recorded = self._numbers()
        self._left = {trial.number for trial in trials if trial.state.is_finished()}

    def record(
        self,
        own: Trial,
        space: SearchSpace,
        trials: Sequence[FrozenTrial],
        count: int,
        learned: Learned | None,
    ) -> None:
        """Add a trial that ended, as the last of `count` trials of the study, and those `trials`
        that have no record and that nobody else will record; durable when this returns.

        `learned` is what proposes in this space, once something does. Raises StoreError.
        """
        ended = [*self._others(trials, own.number), replace(own, finished_index=count - 1)]
        name = f"{self._task.name}{self._mark}{space.id}"
        study = self._study(name, space, learned)
        if study != self._put.get(name):
            before = self._store.find_study(name)
            if before is None or (before.model is None and study.model is not None):
                self._store.put_study(study)
            self._put[name] = study
        self._store.append([_within(replace(trial, study=name), space) for trial in ended])
        self._recorded |= {trial.number for trial in ended}

    def _others(self, trials: Sequence[FrozenTrial], own: int) -> list[Trial]:
        new = self._without_record(trials, own)
        if not new:
            return []
        self._recorded |= self._numbers()  # another process may have been faster
        ended = [trial for trial in trials if trial.state.is_finished()]
        ended.sort(key=lambda t: (str(t.datetime_complete), t.number))
        place = {trial.number: index for index, trial in enumerate(ended)}
        return [
            replace(
                trial_of("", t, t.state, t.values, Suggestion(config_of(t), _OTHER)),
                finished_index=place[t.number],
            )
            for t in self._without_record(trials, own)
        ]

    def _without_record(self, trials: Sequence[FrozenTrial], own: int) -> list[FrozenTrial]:
        return [
            trial
            for trial in trials
            if trial.number not in self._recorded
            and trial.number != own
            and trial.state.is_finished()
            and (trial.number in self._left or not has_plan(trial))
        ]

    def _numbers(self) -> set[int]:
        """Numbers of the trials that are in the store, whatever process put them there."""
        names = [s.name for s in self._store.studies() if self._mark in s.name]
        return {trial.number for name in names for trial in self._store.trials(name, columns=())}

    def _study(self, name: str, space: SearchSpace, learned: Learned | None) -> Study:
        study = Study(
            name,
            self._task,
            space,
            self._seed,
            optimizer=_OPTIMIZER,
            pruner=self._pruner,
            versions=self._versions,
            part_of=f"{self._task.name}{self._mark}",
        )
        if learned is None:
            return study
        return replace(
            study,
            experience=learned.experience,
            aliases=learned.aliases,
            model=learned.model,
        )


def _within(trial: Trial, space: SearchSpace) -> Trial:
    """The trial with what its configuration has of `space`, in that order."""
    config = {name: trial.config[name] for name in space.names if name in trial.config}
    return replace(trial, suggestion=replace(trial.suggestion, config=config))
