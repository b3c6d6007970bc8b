"""Which surrogate is best to search with, and what does each cost?

Tables of real trainings, each task left out in turn and searched with the trials of the others:
past tasks show one half of the configurations, and what is searched is the other half. Regret is 0
at the best value of that half and 1 at its median. Rank correlations are those of what is expected
with what was measured, on configurations of the tested task that no one was shown: from past tasks
alone, from 20 random trials of this task alone, and from both.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from results import Row, finish
from rich.progress import track
from scipy.stats import spearmanr
from transfer_benchmark.cells import searched
from transfer_benchmark.pool import PoolRandom
from transfer_benchmark.problems import Indices, Problem, problem, stable_hash
from transfer_benchmark.tables import SOURCES, load

from metatune.optimizers.features import Features
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.past_ensemble import PastEnsemble
from metatune.optimizers.stacked_model import StackedModel
from metatune.optimizers.surrogate import Surrogate
from metatune.optimizers.surrogate_forest import ForestSurrogate
from metatune.optimizers.surrogate_gp import GaussianProcessSurrogate
from metatune.optimizers.surrogate_network import NetworkSurrogate
from metatune.optimizers.surrogate_search import SurrogateSearch
from metatune.optimizers.surrogate_svr import SupportVectorSurrogate
from metatune.optimizers.threads import one_thread
from metatune.optimizers.transfer import Transfer
from metatune.trial import derive_seed

SURROGATES: dict[str, Surrogate] = {
    "gp": GaussianProcessSurrogate(),
    "forest": ForestSurrogate(),
    "svr": SupportVectorSurrogate(),
    "network": NetworkSurrogate(),
}
PEERS: dict[str, Callable[[Problem], MetaOptimizer]] = {
    "random": lambda posed: PoolRandom(posed.candidates),
    "tpe": lambda posed: TPE(),
    "transfer": lambda posed: Transfer(posed.past, posed.candidates),
}
COUNTS = (1, 3, 5, 10, 20, 50)
_SHOWN = 20  # random trials of the tested task, for the correlations


@dataclass(frozen=True, order=True)
class Cell:
    """What is run: a task of a table, and one seed; ordered so that cells of one problem stand
    together."""

    table: str
    seed: int
    task: str
    method: str


@dataclass(frozen=True)
class Run:
    """Regrets of the best of the first 1, 2, ... trials, CPU seconds of each suggestion, and rank
    correlations by what was known."""

    regrets: list[float]
    cpu: list[float]
    correlations: dict[str, float]


def main() -> None:
    """Run all cells, print and write the rows."""
    options = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    # The first tasks by name, so that nothing is chosen by its outcome.
    methods = [*SURROGATES, *PEERS]
    tasks, seeds = (1, 1) if options.quick else (options.tasks, options.seeds)
    cells = [
        Cell(table, seed, task, method)
        for table in SOURCES
        for seed in range(seeds)
        for task in list(load(table, options.data).values)[:tasks]
        for method in methods
    ]
    count = 10 if options.quick else COUNTS[-1]
    work = partial(run, data=options.data, count=count)
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        done = track(pool.map(work, cells), "cells", len(cells))
        runs = dict(zip(cells, done, strict=True))
    rows = [row for table in SOURCES for row in _rows(table, runs)]
    finish(rows, "surrogates", options.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the tables")
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--tasks", type=int, default=4, help="left out, of each table")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    return parser.parse_args()


def run(cell: Cell, data: Path, count: int) -> Run:
    """Search one problem with one method."""
    posed = problem(cell.table, data, "disjoint-pool", "true", cell.task, cell.seed)
    seed = derive_seed(cell.seed, stable_hash(cell.task))
    start = time.process_time()
    if cell.method in SURROGATES:
        surrogate = SURROGATES[cell.method]
        optimizer: MetaOptimizer = SurrogateSearch(surrogate, posed.past, posed.candidates)
    else:
        optimizer = PEERS[cell.method](posed)
    made = time.process_time() - start
    regrets, cpu = searched(posed, optimizer, seed, count)
    cpu[0] += made
    told = correlations(SURROGATES[cell.method], posed, seed) if cell.method in SURROGATES else {}
    return Run(regrets, cpu, told)


def correlations(surrogate: Surrogate, posed: Problem, seed: int) -> dict[str, float]:
    """Spearman's, by what is known of the task; failed trainings come last."""
    assert posed.candidates is not None
    features = Features(posed.space, absent=math.nan)
    points = features.of(posed.candidates)
    values = np.asarray([posed.evaluate(config, set())[1] for config in posed.candidates])
    shown = np.random.default_rng(seed).permutation(len(values))[:_SHOWN]
    hidden = np.setdiff1d(np.arange(len(values)), shown)
    with one_thread():
        past = PastEnsemble.of(surrogate, posed.past, posed.task, posed.space, features)
        nothing = PastEnsemble.of(surrogate, [], posed.task, posed.space, features)

        def told(known: PastEnsemble, rows: Indices) -> float:
            model = StackedModel.of(surrogate, known, points[rows], values[rows], 2, seed)
            expected, _ = model.predict(points[hidden], known.predict(points[hidden]))
            return float(spearmanr(expected, values[hidden]).statistic)

        return {
            "past tasks": told(past, shown[:0]),
            f"{_SHOWN} trials": told(nothing, shown),
            f"past tasks and {_SHOWN} trials": told(past, shown),
        }


def _rows(table: str, runs: dict[Cell, Run]) -> list[Row]:
    """Of each surrogate beside each peer: regrets, correlations and CPU seconds."""
    of = {
        method: [run for cell, run in runs.items() if (cell.table, cell.method) == (table, method)]
        for method in (*SURROGATES, *PEERS)
    }
    cells = len(of["random"])
    rows = []
    for name in SURROGATES:
        case = f"{table} {name} ({cells} cells)"
        for peer in PEERS:
            for count in [n for n in COUNTS if n <= len(of[peer][0].regrets)]:
                ours, theirs = (
                    float(np.mean([run.regrets[count - 1] for run in of[m]])) for m in (name, peer)
                )
                rows.append(Row(case, f"mean_regret_at_{count}", ours, peer, theirs))
        for known in of[name][0].correlations:
            ours, theirs = (
                float(np.mean([run.correlations[known] for run in of[m]])) for m in (name, "gp")
            )
            rows.append(Row(case, f"rank_correlation, {known}", ours, "gp", theirs))
        for metric, seconds in (("fit", _fit_seconds), ("suggestion", _suggestion_seconds)):
            ours, theirs = (float(np.median([*map(seconds, of[m])])) for m in (name, "transfer"))
            rows.append(Row(case, f"cpu_seconds_of_{metric}", ours, "transfer", theirs))
    return rows


def _fit_seconds(run: Run) -> float:
    """Of the first suggestion, which fits the past tasks."""
    return run.cpu[0]


def _suggestion_seconds(run: Run) -> float:
    """The median of the last ten."""
    return float(np.median(run.cpu[-10:]))


if __name__ == "__main__":
    main()
