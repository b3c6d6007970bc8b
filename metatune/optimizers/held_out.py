"""What a model would have been worth on each past task, had it not known that task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from metatune.experience.past import PastTask
from metatune.optimizers.past_surrogate import scaled
from metatune.optimizers.task_surrogate import outcome
from metatune.optimizers.transfer import Transfer
from metatune.optimizers.transfer_model import Progress, TransferModel, related, without
from metatune.parameters import Vectors
from metatune.study import Study
from metatune.trial import Trial, derive_seed

# After so many proposals what was found is compared.
PROPOSALS = (1, 3, 10, 25)
# So many tasks are left out at most, those with most trials.
MOST_LEFT_OUT = 12
# Mean regrets that differ by less are called even.
EVEN = 0.01
# Over how many random starts the optimizer without memory is averaged: each begins in another
# quantile of the trials, so that their luck cancels out.
_STARTS = 6

Verdict = Literal["gained", "even", "harmed"]


@dataclass(frozen=True)
class HeldOut:
    """How three ways of trying the same `candidates` trials of a past task compare.

    Regrets are those of the best trial found after each number of `proposals`, 0 being that of the
    task's best trial and 1 that of its median: of the model `learned` from other tasks, of the
    same optimizer `alone`, without a model, which is a Gaussian process (a mean over six random
    starts), and of `random` order (expected).
    """

    task: str
    candidates: int
    proposals: tuple[int, ...]
    learned: tuple[float, ...]
    alone: tuple[float, ...]
    random: tuple[float, ...]

    @property
    def verdict(self) -> Verdict:
        """Of the mean of the regrets, against the better of the two that know no other task."""
        learned, alone, random = map(np.mean, (self.learned, self.alone, self.random))
        gain = float(min(alone, random) - learned)
        if abs(gain) <= EVEN:
            return "even"
        return "gained" if gain > 0.0 else "harmed"


def leave_out(
    model: TransferModel,
    past: Sequence[PastTask],
    seed: int,
    progress: Progress = lambda what, done, of: None,
) -> list[HeldOut]:
    """Each of the `past` tasks that the model was fitted to left out in turn, at most 12.

    Left out are tasks tried in the very space of the model, each with whatever else the model
    knows of the same data; tasks with nothing left to learn from are passed over.
    """
    own = [task for task in related(past, model.space) if task.space.id == model.space.id]
    found = []
    for index, task in enumerate(own[:MOST_LEFT_OUT]):
        progress("held-out tasks", index, len(own[:MOST_LEFT_OUT]))
        others = without(model, task.task, seed)
        if others is not None:
            found.append(_compare(others, task, seed))
    progress("held-out tasks", 1, 1)
    return found


def _compare(model: TransferModel, past: PastTask, seed: int) -> HeldOut:
    tried: dict[str, Trial] = {}
    for trial in past.trials:
        if trial.state.finished:
            tried.setdefault(repr(trial.config), trial)
    trials = list(tried.values())
    values = np.asarray([outcome(trial) for trial in trials])
    labels = scaled(values, past.median)
    proposals = tuple(count for count in PROPOSALS if count < len(trials)) or (1,)

    def regrets(optimizer: Transfer, seed: int, first: list[int]) -> tuple[float, ...]:
        order = _order(optimizer, study, trials, proposals[-1], seed, first)
        return tuple(float(labels[order[:count]].min()) for count in proposals)

    study = Study("held-out", past.task, model.space, seed)
    configs = [trial.config for trial in trials]
    quantiles = np.array_split(np.argsort(labels, kind="stable"), min(_STARTS, len(labels)))
    seeds = [derive_seed(seed, number) for number in range(len(quantiles))]
    alone = [
        regrets(Transfer([], configs), own, [int(np.random.default_rng(own).choice(quantile))])
        for own, quantile in zip(seeds, quantiles, strict=True)
    ]
    return HeldOut(
        task=past.task.name,
        candidates=len(trials),
        proposals=proposals,
        learned=regrets(Transfer(model, configs), seed, []),
        alone=tuple(np.mean(alone, axis=0).tolist()),
        random=tuple(expected_minimum(labels, count) for count in proposals),
    )


def _order(
    optimizer: Transfer,
    study: Study,
    trials: list[Trial],
    count: int,
    seed: int,
    first: list[int],
) -> list[int]:
    """Which `count` of the trials are tried, in order: the first ones, then what the optimizer
    proposes, told the outcome of each."""
    rows = {repr(trial.config): row for row, trial in enumerate(trials)}
    order: list[int] = []
    known: list[Trial] = []
    for number in range(count):
        if number < len(first):
            order.append(first[number])
        else:
            suggestion = optimizer.suggest(study, known, 1, seed)[0]
            order.append(rows[repr(suggestion.config)])
        told = replace(trials[order[-1]], study=study.name, number=number, finished_index=number)
        known.append(told)
    return order


def expected_minimum(values: Vectors, count: int) -> float:
    """The mean, over all choices of `count` of the values [n], of the lowest of them."""
    n = len(values)
    ways = [math.comb(n - 1 - rank, count - 1) / math.comb(n, count) for rank in range(n)]
    return float(np.sort(values) @ ways)
