"""How trials of other tools ended, as the store records it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metatune.experience.history.found import FoundTrial, LeftOut
from metatune.task import Report, Task
from metatune.trial import Trial, TrialState


@dataclass(frozen=True)
class Outcome:
    """A trial as it will be recorded, but for its configuration."""

    found: FoundTrial
    digest: str
    state: TrialState
    value: float | None
    curve: tuple[Report, ...]
    error: str | None


def outcome_of(trial: FoundTrial, task: Task) -> Outcome | LeftOut:
    """How a trial will be recorded; a value that is no finite number is a failure."""
    if trial.state is TrialState.RUNNING:
        return LeftOut(f"trial {trial.key}", "is still running")
    curve = tuple(report for report in trial.curve if math.isfinite(report.value))
    last = trial.curve[-1].value if trial.curve else None
    value = last if trial.value is None else trial.value
    state, error = trial.state, trial.error
    if state is TrialState.FAILED:
        value, error = None, error or "failed, and the source does not say why"
    elif value is None:
        return LeftOut(f"trial {trial.key}", f"{state.lower()}, and never measured {task.metric!r}")
    elif not math.isfinite(value):
        error = f"measured {task.metric} = {value!r}, which is no finite number"
        state, value = TrialState.FAILED, None
    elif task.measure == "best":
        value = min([value, *(report.value for report in curve)], key=task.flip)
    return Outcome(trial, _digest(trial, task), state, value, curve, error)


def went_on(
    outcomes: Sequence[Outcome], known: Mapping[tuple[str, str], Trial]
) -> Iterator[LeftOut]:
    """Those of the trials that the store has, by key and digest, that went on since. They stay as
    they are: searches that learned from them must propose the same when resumed."""
    for outcome in outcomes:
        trial = known.get((outcome.found.key, outcome.digest))
        step = outcome.curve[-1].step if outcome.curve else 0
        if trial is not None and trial.step < step:
            when = f"was imported when it had come to step {trial.step}, of now {step}"
            yield LeftOut(f"trial {outcome.found.key}", f"{when}; stays as it is")


def _digest(trial: FoundTrial, task: Task) -> str:
    """A hash of what a trial tried and measured first, which does not change as it goes on."""
    first = trial.curve[0].value if trial.curve else trial.value
    told = (sorted(trial.config.items()), task.metric, first)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
