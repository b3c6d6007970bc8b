"""What stops trials early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from metatune.errors import InputError
from metatune.trial import Trial


class Pruner(Protocol):
    """Decides which trials stop early; its `str()` names it and its settings for the record."""

    def should_prune(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        """Whether `trial` is to stop after its last report.

        A function of the recorded curves alone, lower is better: `trials` are all of the study,
        `trial` and those that still run included, in any order.
        """
        ...


@dataclass(frozen=True)
class NoPruner:
    """Stops nothing."""

    def __str__(self) -> str:
        return "none"

    def should_prune(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        """See Pruner."""
        return False


@dataclass(frozen=True)
class SuccessiveHalving:
    """Asynchronous successive halving, stopping variant (Li et al. 2020, A System for Massively
    Parallel Hyperparameter Tuning, section 3).

    Rungs are the steps `min_step` * `reduction`**k below `max_step`. With the report that first
    reaches a rung a trial stops unless it is among the best 1 / `reduction` of all trials that
    have reached it by now, itself included, of which at least one goes on. A trial's value at a
    rung is its best up to the report that reached it, which a noisy report cannot spoil; it stops
    where that report is no finite number.
    """

    min_step: int = 1
    reduction: int = 3
    max_step: int | None = None

    def __post_init__(self) -> None:
        if self.min_step < 1:
            raise InputError(f"min_step = {self.min_step!r} must be at least 1")
        if self.reduction < 2:
            raise InputError(f"reduction = {self.reduction!r} must be at least 2")
        if self.max_step is not None and self.max_step < self.min_step:
            raise InputError(
                f"max_step = {self.max_step!r} must be at least min_step = {self.min_step}"
            )

    def __str__(self) -> str:
        end = "" if self.max_step is None else f", max_step={self.max_step}"
        return f"asha(min_step={self.min_step}, reduction={self.reduction}{end})"

    def should_prune(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        """See Pruner."""
        before = trial.curve[-2].step if len(trial.curve) > 1 else 0
        reached = [rung for rung in self._rungs(trial.step) if rung > before]
        if not reached:
            return False
        others = [other for other in trials if other.number != trial.number]
        return any(self._is_behind(trial, others, rung) for rung in reached)

    def _rungs(self, step: int) -> list[int]:
        """The rungs up to and including `step`."""
        rungs = []
        rung = self.min_step
        while rung <= step and (self.max_step is None or rung < self.max_step):
            rungs.append(rung)
            rung *= self.reduction
        return rungs

    def _is_behind(self, trial: Trial, others: Sequence[Trial], rung: int) -> bool:
        value = _value_at(trial, rung)
        if value is None or math.isinf(value):
            return True
        reached = [v for v in (_value_at(other, rung) for other in others) if v is not None]
        going_on = max(1, (len(reached) + 1) // self.reduction)
        return sum(other < value for other in reached) >= going_on


@dataclass(frozen=True)
class Hyperband:
    """Asynchronous successive halving with several first rungs (Li et al. 2018, Hyperband,
    algorithm 1; run asynchronously as in Li et al. 2020).

    Bracket s, from the largest s with `reduction`**s <= `max_step` / `min_step` down to 0, starts
    at `max_step` / `reduction`**s. Trials go through the brackets in order of number, again and
    again, ceil((s_max + 1) `reduction`**s / (s + 1)) to each, and are compared with those of the
    same bracket. In the last bracket nothing stops.
    """

    max_step: int
    min_step: int = 1
    reduction: int = 3

    def __post_init__(self) -> None:
        SuccessiveHalving(self.min_step, self.reduction, self.max_step)  # checks the settings

    def __str__(self) -> str:
        return (
            f"hyperband(max_step={self.max_step}, min_step={self.min_step}, "
            f"reduction={self.reduction})"
        )

    def should_prune(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        """See Pruner."""
        bracket = self._bracket(trial.number)
        first = max(self.min_step, self.max_step // self.reduction**bracket)
        same = [other for other in trials if self._bracket(other.number) == bracket]
        return SuccessiveHalving(first, self.reduction, self.max_step).should_prune(trial, same)

    def _bracket(self, number: int) -> int:
        most = 0
        while self.min_step * self.reduction ** (most + 1) <= self.max_step:
            most += 1
        sizes = [-(-(most + 1) * self.reduction**s // (s + 1)) for s in range(most + 1)]
        place = number % sum(sizes)
        for bracket in range(most, 0, -1):
            place -= sizes[bracket]
            if place < 0:
                return bracket
        return 0


def default_pruner(max_steps: int | None, learned: bool) -> Pruner:
    """Successive halving with rungs at a ninth and at a third of a full trial of `max_steps`
    reports; at a third alone where what proposes was `learned` from earlier tasks. None where the
    length is not known, since the only report of a trial would then stop most of them.

    Most learned proposals are good, and early reports do not tell which is best: by them it would
    stop what learns slowly, and the optimizer would take what was stopped for bad.
    """
    if max_steps is None:
        return NoPruner()
    return SuccessiveHalving(max(1, max_steps // (3 if learned else 9)), max_step=max_steps)


def _value_at(trial: Trial, rung: int) -> float | None:
    """A trial's best value up to the first report at or beyond `rung`, infinite where that report
    is not finite; None if it has not got there."""
    best = math.inf
    for report in trial.curve:
        if report.step >= rung:
            return min(best, report.value) if math.isfinite(report.value) else math.inf
        if math.isfinite(report.value):
            best = min(best, report.value)
    return None
