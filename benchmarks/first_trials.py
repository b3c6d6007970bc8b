"""Does memory pay from the first trial? Best of 3 remembered trials against best of 3 random ones.

Four real classification tasks; each is left out in turn and searched with the experience of the
other three: random trials of the shipped `mlp` space, a random three quarters of them for each
seed. A cell is (left-out task, seed); every cell is printed, losses included. The figure is the
best validation log loss of the first 3 trials.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from results import Row, arguments, finish
from rich.console import Console
from rich.progress import track
from rich.table import Table

from metatune.experience.past import PastTask
from metatune.networks.data.loading import Dataset, load
from metatune.networks.training import Training
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.portfolio import Portfolio
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.problem import network_problem
from metatune.study import Study
from metatune.trial import Report, Suggestion, Trial, TrialState, derive_seed

TASKS = ("iris", "wine", "breast_cancer", "digits")
SEEDS = range(5)
FIRST = 3
EPOCHS = 15
PAST_SEED = 1000


def trained(
    dataset: Dataset, study: Study, number: int, suggestion: Suggestion, seed: int
) -> Trial:
    """The trial of one configuration; FAILED where the loss was never finite."""
    run = Training(suggestion.config, dataset, seed=seed, epochs=EPOCHS)
    losses = [scores["validation_loss"] for scores in run.fit()]
    curve = tuple(Report(step, loss, 0.0) for step, loss in enumerate(losses, 1))
    value = study.task.value(curve)
    state = TrialState.FAILED if value is None else TrialState.COMPLETE
    return Trial(study.name, number, suggestion, seed, state, curve, value, finished_index=number)


def searched(
    task: str, optimizer: MetaOptimizer, seed: int, count: int, name: str = "search"
) -> list[Trial]:
    """The first trials of a search."""
    problem, dataset = network_problem("mlp", task, EPOCHS), load(task)
    study = Study(f"{name}-{task}-{seed}", problem.task, problem.space, seed)
    trials: list[Trial] = []
    for number in range(count):
        suggestion = optimizer.suggest(study, trials, 1, seed)[0]
        own_seed = derive_seed(seed, number, 1)
        trials.append(trained(dataset, study, number, suggestion, own_seed))
    return trials


def cell(task: str, seed: int, past: Sequence[PastTask]) -> tuple[float, float]:
    """Best of the first trials with memory, and of random ones."""
    remembered = searched(task, Portfolio(past), seed, FIRST, "memory")
    fresh = searched(task, RandomSearch(), seed, FIRST, "random")
    return _best(remembered), _best(fresh)


def _best(trials: Sequence[Trial]) -> float:
    return min((t.value for t in trials if t.value is not None), default=float("inf"))


def _past_trials(task: str, count: int) -> list[Trial]:
    return searched(task, RandomSearch(), PAST_SEED, count, "past")


def _sample(trials: Sequence[Trial], seed: int) -> tuple[Trial, ...]:
    rng = np.random.default_rng(seed)
    kept = rng.choice(len(trials), size=3 * len(trials) // 4, replace=False)
    return tuple(trials[index] for index in sorted(kept))


def main() -> None:
    """Print every cell and the medians."""
    options = arguments(__doc__)
    count = 32 if options.quick else 80
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = {task: pool.submit(_past_trials, task, count) for task in TASKS}
        known = {task: run.result() for task, run in track(runs.items(), "past tasks")}
        problems = {task: network_problem("mlp", task, EPOCHS) for task in TASKS}
        cells = {}
        for task in TASKS:
            for seed in SEEDS:
                past = [
                    PastTask(problems[other].task, problems[other].space, _sample(trials, seed))
                    for other, trials in known.items()
                    if other != task
                ]
                cells[task, seed] = pool.submit(cell, task, seed, past)
        done = {key: run.result() for key, run in track(cells.items(), "cells")}
    table = Table("left out", "seed", "remembered", "random", "better", title=f"best of {FIRST}")
    for (task, seed), (remembered, fresh) in done.items():
        better = "remembered" if remembered < fresh else "random"
        table.add_row(task, str(seed), f"{remembered:.4f}", f"{fresh:.4f}", better)
    Console().print(table)
    harmed = sum(remembered > fresh for remembered, fresh in done.values())
    print(f"memory lost {harmed} of {len(done)} cells")
    finish(_rows(done), f"first {FIRST} trials", options.json)


def _rows(done: dict[tuple[str, int], tuple[float, float]]) -> list[Row]:
    groups = {task: [v for (t, _), v in done.items() if t == task] for task in TASKS}
    groups["all tasks"] = list(done.values())
    return [
        Row(
            name,
            "median_best_validation_loss",
            statistics.median(remembered for remembered, _ in values),
            "random search",
            statistics.median(fresh for _, fresh in values),
        )
        for name, values in groups.items()
    ] + [
        Row(
            "all tasks",
            "share_of_cells_won",
            sum(remembered < fresh for remembered, fresh in done.values()) / len(done),
            "random search",
            sum(fresh < remembered for remembered, fresh in done.values()) / len(done),
        )
    ]


if __name__ == "__main__":
    main()
