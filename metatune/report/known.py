"""What a report is written from: one study, its trials, and other studies of the same task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from metatune.experience.past import past_keys
from metatune.experience.store import ExperienceStore
from metatune.study import Study
from metatune.trial import Trial, TrialState, best_trial


@dataclass(frozen=True)
class Known:
    """A study with its `trials` by number, and by name the finished trials of `others`: studies of
    the same task, measured in the same way, in the same space. Values are in the metric's own
    sense."""

    study: Study
    trials: tuple[Trial, ...]
    others: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)

    @cached_property
    def finished(self) -> tuple[Trial, ...]:
        """The study's trials that have ended, in order of ending."""
        return in_order(self.trials)

    @cached_property
    def complete(self) -> tuple[Trial, ...]:
        """Those of `finished` that ran to their end and have a finite value."""
        return tuple(trial for trial in self.finished if is_measured(trial))

    @cached_property
    def best(self) -> Trial | None:
        """The complete trial with the best value."""
        return best_trial(self.study.task, self.complete)

    @cached_property
    def of_this_task(self) -> tuple[Trial, ...]:
        """Every finished trial of the task, of the other studies too; lower is better."""
        trials = [*self.finished, *(t for other in self.others.values() for t in other)]
        return tuple(trial.inward(self.study.task) for trial in trials)


def read_known(store: ExperienceStore, name: str) -> Known:
    """What `store` has of the study `name`; raises StudyError if there is none.

    Of a search that stands in the store in parts all are read, as `ExperienceStore.whole` says.
    """
    study, trials = store.whole(name)
    parts = {study.name, *(trial.study for trial in trials)}
    others: dict[str, tuple[Trial, ...]] = {}
    studies = store.studies()
    keys = past_keys(studies)
    for other in studies:
        if other.name not in parts and keys[other.name] == keys[study.name]:
            found = store.trials(study=other.name, columns=["value", "finished_index"])
            others[other.name] = in_order(found)
    return Known(study, tuple(trials), {name: found for name, found in others.items() if found})


def in_order(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """The trials that have ended, in order of ending."""
    ended = [trial for trial in trials if trial.state.finished]
    return tuple(sorted(ended, key=_ending))


def is_measured(trial: Trial) -> bool:
    """Whether a trial ran to its end and has a finite value."""
    complete = trial.state is TrialState.COMPLETE and trial.value is not None
    return complete and math.isfinite(trial.value or 0.0)


def _ending(trial: Trial) -> tuple[float, int]:
    return math.inf if trial.finished_index is None else trial.finished_index, trial.number
