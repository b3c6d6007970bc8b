"""Trials: a configuration, what training it showed, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from metatune.space import Config
from metatune.task import Report as Report
from metatune.task import Task


class TrialState(StrEnum):
    """RUNNING until it ends as COMPLETE, PRUNED (stopped early) or FAILED (see its error).

    UNKNOWN is one that ended by itself or was stopped early, which of the two is not known: learned
    from as if it had been stopped.
    """

    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_partial(self) -> bool:
        """Whether the trial may have measured more had it gone on: PRUNED or UNKNOWN."""
        return self in (TrialState.PRUNED, TrialState.UNKNOWN)

    @property
    def finished(self) -> bool:
        """Whether the trial has ended."""
        return self is not TrialState.RUNNING


@dataclass(frozen=True)
class Suggestion:
    """A proposed configuration and where it came from.

    `tasks` maps the past tasks that spoke to their weights, which sum to the weight of memory: 1,
    or less by as much as this task's own trials are believed instead, and 0 where they were asked
    alone. `predicted` and `uncertainty` are the value expected and its standard deviation, in the
    direction inside (lower is better), where the optimizer knows them; `guarded` tells that memory
    was overruled.
    """

    config: Config
    optimizer: str
    tasks: Mapping[str, float] = field(default_factory=dict)
    predicted: float | None = None
    uncertainty: float | None = None
    guarded: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A folder to resume from, and the step it was taken at."""

    path: str
    step: int
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One configuration tried in a study.

    `number` is the order of proposal, from 0; `finished_index` the order of ending, from 0. Of two
    records with the same id the one with the higher `revision` holds. `value` and `curve` are in
    the metric's own sense in the store, and lower-is-better inside optimizers and pruners (see
    `inward`). `cost` is in seconds of training. `training` holds what exact re-training needs.
    """

    study: str
    number: int
    suggestion: Suggestion
    seed: int
    state: TrialState = TrialState.RUNNING
    curve: tuple[Report, ...] = ()
    value: float | None = None
    finished_index: int | None = None
    revision: int = 0
    cost: float = 0.0
    population: str | None = None
    checkpoint: Checkpoint | None = None
    error: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Study and number."""
        return f"{self.study}-{self.number}"

    @property
    def config(self) -> Config:
        """The configuration that is tried."""
        return self.suggestion.config

    @property
    def step(self) -> int:
        """The last step reported, 0 before the first."""
        return self.curve[-1].step if self.curve else 0

    def inward(self, task: Task) -> Trial:
        """The trial with value and curve lower-is-better."""
        if task.direction == "minimize":
            return self
        return replace(
            self,
            curve=tuple(replace(report, value=-report.value) for report in self.curve),
            value=None if self.value is None else -self.value,
        )


def best_trial(task: Task, trials: Sequence[Trial]) -> Trial | None:
    """The COMPLETE trial with the best value, the earliest of equals; None without any."""
    ranked = [
        (task.flip(trial.value), trial.number, trial)
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.value is not None
    ]
    return min(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def derive_seed(seed: int, *path: int) -> int:
    """A 32-bit seed of its own for each path of counters under `seed`."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])
