"""When may a search with memory stop trials, and does it then beat one without?

Each of six real data sets is searched by the built-in MLP with the memory of two others, drawn by
the seed and searched before as a user would: the first without memory, the second with that of the
first, both with the default early stopping. With memory trials are stopped by successive halving
from a third of a trial on (the default with memory), from a ninth on (the default without), or not
at all; without memory from a ninth on, or not at all.

Compared with a search without memory and its default are the best loss at equal numbers of trials
and of epochs trained (a full trial has 27): the median ratio over the cells (data set, seed), and
harm, the share of cells that are worse by over 5 %. How often a search without memory is that much
worse than itself with another seed is the noise floor. Seeds begin at 10: the default was chosen on
lower ones. Trials are trained one after another, with the coordinator, optimizers and seeds of a
search but without Ray Tune.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import numpy as np
from results import Row, arguments, write
from rich.console import Console
from rich.progress import track
from rich.table import Table

from metatune.experience.past import PastTask
from metatune.networks.data.reading import SCIKIT_LEARN
from metatune.optimizers.auto import ByCost
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.pruning import NoPruner, Pruner, default_pruner
from metatune.optimizers.transfer import Transfer
from metatune.orchestration.problem import Problem, network_problem
from metatune.starter.making import run
from metatune.study import Study
from metatune.trial import Trial

TRIALS, EPOCHS, PAST = 30, 27, 2
COUNTS = (1, 5, 10, 20, 30)
BUDGETS = (27, 81, 135, 270, 400)
SEEDS = range(10, 14)
QUICK_SEEDS, QUICK_SOURCES = range(10, 11), ["wine", "iris"]
WORSE = 1.05

EARLY, LATE = default_pruner(EPOCHS, learned=False), default_pruner(EPOCHS, learned=True)
PEER = "no memory, from a ninth on"
OTHER_SEED = 1000
# Whether with memory, what stops trials, and what is added to the seed. The quick form leaves out
# what stops none.
ARMS: Mapping[str, tuple[bool, Pruner, int]] = {
    PEER: (False, EARLY, 0),
    "the same with another seed": (False, EARLY, OTHER_SEED),
    "no memory, none stopped": (False, NoPruner(), 0),
    "memory, from a third on": (True, LATE, 0),
    "memory, from a ninth on": (True, EARLY, 0),
    "memory, none stopped": (True, NoPruner(), 0),
}
Cell = Mapping[str, list[Trial]]  # the trials of each arm


@cache
def problem_of(source: str) -> Problem:
    """The MLP on a data set."""
    return network_problem("mlp", source, EPOCHS)


def searched(source: str, seed: int, optimizer: MetaOptimizer, pruner: Pruner) -> list[Trial]:
    """All trials of one search."""
    problem = problem_of(source)
    study = Study(
        f"{source}-{seed}", problem.task, problem.space, seed, TRIALS, training=problem.training
    )
    if problem.dataset is None:
        raise SystemExit(f"{source} has no data")
    return run(study, optimizer, problem.dataset, pruner)


def remembered(source: str, seed: int) -> list[PastTask]:
    """What searches of two other data sets leave behind."""
    others = [other for other in SCIKIT_LEARN if other != source]
    past: list[PastTask] = []
    rng = np.random.default_rng([seed, SCIKIT_LEARN.index(source)])
    for other in rng.permutation(others)[:PAST].tolist():
        problem = problem_of(other)
        model = Transfer(past).model(problem.space)
        trials = (
            searched(other, seed, ByCost(), EARLY)
            if model is None
            else searched(other, seed, Transfer(model), LATE)
        )
        past.append(PastTask(problem.task, problem.space, tuple(trials)))
    return past


def cell(source: str, seed: int, quick: bool) -> Cell:
    """Every arm's search of one data set."""
    past = remembered(source, seed)
    return {
        arm: searched(source, seed + more, Transfer(past) if memory else ByCost(), pruner)
        for arm, (memory, pruner, more) in ARMS.items()
        if not (quick and pruner == NoPruner())
    }


def best_after(trials: Sequence[Trial], count: int) -> float:
    """The best value that the first `count` trials showed, pruned ones included."""
    return min((t.value for t in trials[:count] if t.value is not None), default=float("inf"))


def best_within(trials: Sequence[Trial], epochs: int) -> float:
    """The best value reported in the first `epochs` epochs of all trials together."""
    values = [report.value for trial in trials for report in trial.curve][:epochs]
    return min((value for value in values if np.isfinite(value)), default=float("inf"))


MEASURES: Mapping[str, tuple[Callable[[Sequence[Trial], int], float], int]] = {
    **{f"{count} trials": (best_after, count) for count in COUNTS},
    **{f"{budget} epochs": (best_within, budget) for budget in BUDGETS},
}


def main() -> None:
    """Print ratios and harm of every arm."""
    options = arguments(__doc__)
    seeds = QUICK_SEEDS if options.quick else SEEDS
    sources = QUICK_SOURCES if options.quick else SCIKIT_LEARN
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(cell, s, seed, options.quick) for seed in seeds for s in sources]
        cells = [run.result() for run in track(runs, "data sets")]
    title = f"{len(cells)} cells: median ratio to '{PEER}', and share of cells harmed"
    table = Table("", *MEASURES, "epochs trained", title=title)
    rows = []
    for arm in cells[0]:
        of_arm = _rows(arm, cells)
        rows += of_arm
        ratios, harms, (trained,) = of_arm[: len(MEASURES)], of_arm[len(MEASURES) : -1], of_arm[-1:]
        shown = [f"{a.value:.2f} ({b.value:.0%})" for a, b in zip(ratios, harms, strict=True)]
        table.add_row(arm, *shown, f"{trained.value:.0f}")
    Console(width=200).print(table)
    if options.json:
        write(rows, options.json)


def _rows(arm: str, cells: Sequence[Cell]) -> list[Row]:
    ratios, harms = [], []
    for name, (best, amount) in MEASURES.items():
        found = [best(of[arm], amount) / best(of[PEER], amount) for of in cells]
        worse, better = (
            sum(ratio > WORSE for ratio in of) / len(cells)
            for of in (found, [1.0 / ratio for ratio in found])
        )
        ratios.append(Row(arm, f"median_ratio_after {name}", statistics.median(found), PEER, 1.0))
        harms.append(Row(arm, f"harm_after {name}", worse, f"{PEER}: harmed", better))
    trained, peers = (
        statistics.mean(sum(trial.step for trial in of[which]) for of in cells)
        for which in (arm, PEER)
    )
    return [*ratios, *harms, Row(arm, "mean_epochs_trained", trained, PEER, peers)]


if __name__ == "__main__":
    main()
