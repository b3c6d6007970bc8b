"""An Optuna pruner: metatune's asynchronous successive halving over the curves of a study."""

from __future__ import annotations

from dataclasses import replace

import optuna
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from metatune.optimizers.pruning import SuccessiveHalving
from metatune.optuna_plugin.frozen_trials import curve_of, direction_of
from metatune.task import Task
from metatune.trial import Suggestion, Trial


class MetaPruner(BasePruner):
    """Stops trials as `SuccessiveHalving` does: at the steps `min_step` * `reduction`**k below
    `max_step`, a trial goes on while it is among the best 1 / `reduction` that got there.

    Steps are those of `trial.report`. Where several reports are made before `should_prune` is
    asked, each of them counts. Raises InputError for settings that cannot be.
    """

    def __init__(self, min_step: int = 1, reduction: int = 3, max_step: int | None = None) -> None:
        self._rule = SuccessiveHalving(min_step, reduction, max_step)
        self._answers: dict[int, tuple[int, bool]] = {}
        self._ended: dict[int, Trial] = {}
        self._of: tuple[BaseStorage, int] | None = None

    def __repr__(self) -> str:
        return f"MetaPruner({self._rule})"

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial is to stop after its last report."""
        of = (study._storage, study._study_id)
        if self._of != of:  # caches only
            self._of, self._answers, self._ended = of, {}, {}
        task = Task("pruned", direction=direction_of(study))
        own = _curve(trial, task)
        known, answer = self._answers.get(trial.number, (0, False))
        if known < len(own.curve):
            trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
            others = [self._seen(other, task) for other in trials if other.number != trial.number]
            answer = any(
                self._rule.should_prune(replace(own, curve=own.curve[:reports]), others)
                for reports in range(known + 1, len(own.curve) + 1)
            )
            self._answers[trial.number] = len(own.curve), answer
        return answer

    def _seen(self, trial: FrozenTrial, task: Task) -> Trial:
        """Another trial's curve; what has ended is translated once."""
        if not trial.state.is_finished():
            return _curve(trial, task)
        if trial.number not in self._ended:
            self._ended[trial.number] = _curve(trial, task)
        return self._ended[trial.number]


def _curve(trial: FrozenTrial, task: Task) -> Trial:
    seen = Trial("", trial.number, Suggestion({}, ""), 0, curve=curve_of(trial))
    return seen.inward(task)
