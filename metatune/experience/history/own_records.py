"""Trials of a source that the store has from metatune itself, recorded when they ran.

Optuna's say so: they were recorded by a sampler of ours, or exported. Files of Ray Tune do not, nor
does the store know how Ray called a trial, so there a trial is the one whose curve is the same,
seconds included, of the same task. One of Ray's that never reported is not recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from metatune.experience.history.found import FoundTrial, OwnRecord
from metatune.experience.history.outcomes import Outcome
from metatune.experience.history.plans import IMPORTED
from metatune.experience.store import ExperienceStore
from metatune.study import Study
from metatune.task import Report
from metatune.trial import Trial

TrialsOfTask = Callable[[str], Sequence[Trial]]  # with their curves, by name of a task


class OwnRecords:
    """What a store has of metatune's own trials."""

    def __init__(self, store: ExperienceStore, studies: Iterable[Study], of: TrialsOfTask) -> None:
        self._store, self._of = store, of
        self._names = [study.name for study in studies if IMPORTED not in study.training]
        self._by_number: dict[str, dict[int, Trial]] = {}
        self._by_curve: dict[str, dict[tuple[Report, ...], str]] = {}

    def study_of(self, outcome: Outcome, task: str) -> str | None:
        """The name of the study in which metatune recorded a trial; None if it did not."""
        own = outcome.found.own
        if own is not None:
            names = (name for name in self._names if _may_hold(name, own))
            return next((name for name in names if self._has(name, outcome.found, own)), None)
        if not outcome.curve or outcome.curve[-1].seconds <= 0.0:
            return None
        if task not in self._by_curve:
            ours = set(self._names)
            self._by_curve[task] = {t.curve: t.study for t in self._of(task) if t.study in ours}
        return self._by_curve[task].get(outcome.curve)

    def _has(self, name: str, found: FoundTrial, own: OwnRecord) -> bool:
        if name not in self._by_number:
            trials = self._store.trials(study=name, columns=["value", "cost"])
            self._by_number[name] = {trial.number: trial for trial in trials}
        trial = self._by_number[name].get(own.number)
        if trial is None or own.mark:
            return trial is not None
        return trial.cost == own.seconds and found.value in (None, trial.value)


def _may_hold(name: str, own: OwnRecord) -> bool:
    return own.mark in name if own.mark else name == own.study
