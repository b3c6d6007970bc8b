"""What one study of Optuna's has tried, each trial translated once it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from metatune.optuna_plugin.frozen_trials import (
    config_of,
    is_whole,
    read_plan,
    trial_of,
)
from metatune.optuna_plugin.observed_space import ObservedSpace
from metatune.optuna_plugin.plan import settled_in
from metatune.space import Config, SearchSpace
from metatune.task import Task
from metatune.trial import Suggestion, Trial

NAME = "optuna"


class StudyHistory:
    """The trials of a study as optimizers see them, and the space that they tell of."""

    def __init__(self, name: str, task: Task) -> None:
        self.observed = ObservedSpace()
        self.name, self._task = name, task
        self._ended: dict[int, Trial] = {}
        self._running: dict[int, Trial] = {}

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return len(self._ended)

    def refresh(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in all the trials of the study; what has ended before is not looked at again."""
        self._running = {}
        for trial in trials:
            if trial.number in self._ended:
                continue
            if trial.state.is_finished():
                self.end(trial, trial.state, trial.values)
            elif trial.state is OptunaState.RUNNING:
                self.plan(trial, read_plan(trial))

    def plan(self, trial: FrozenTrial, config: Config) -> None:
        """Take in what a running trial is about to try."""
        config = {**config, **config_of(trial)}
        self._running[trial.number] = self._inward(trial, OptunaState.RUNNING, None, config)

    def end(self, trial: FrozenTrial, state: OptunaState, values: Sequence[float] | None) -> None:
        """Take in how a trial ended."""
        config = config_of(trial)
        self.observed.add(trial.distributions, config, is_whole(trial, state))
        self._ended[trial.number] = self._inward(trial, state, values, config)
        self._running.pop(trial.number, None)

    def others(self, number: int, space: SearchSpace) -> list[Trial]:
        """All trials but one, in order of number, lower is better. Those that run, of which ranges
        are not known yet, are moved into `space`."""
        running = {other: _moved(trial, space) for other, trial in self._running.items()}
        known = {**self._ended, **running}
        return [known[other] for other in sorted(known) if other != number]

    def _inward(
        self,
        trial: FrozenTrial,
        state: OptunaState,
        values: Sequence[float] | None,
        config: Config,
    ) -> Trial:
        told = trial_of(self.name, trial, state, values, Suggestion(config, NAME))
        return told.inward(self._task)


def _moved(trial: Trial, space: SearchSpace) -> Trial:
    config = settled_in(space, trial.config)
    return replace(trial, suggestion=replace(trial.suggestion, config=config))
