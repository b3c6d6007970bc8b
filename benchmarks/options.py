"""What is each option of a search space worth? Random searches with it against searches without.

A cell is (option, task, seed): the same random configurations of the shipped `mlp` space are
trained with the option's lines and without, one by one; `value` is the best validation loss of a
search with the option over that of the search without (geometric means over seeds), so below 1 is a
gain. Beside it stand the same ratio of the losses on the test rows of the configurations chosen,
and of all configurations in pairs. Population-based training is compared in populations of one
architecture. Losses count as 0.01 at least. Six real data sets; options that only fit
classifications have four.

What is learned across tasks is measured by `benchmarks/initialization.py` and `metatune learn`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from options_benchmark.searches import ALONE, OPTIONS, POPULATIONS, Outcome, searched
from results import Row, write
from rich.console import Console
from rich.progress import track
from rich.table import Table

TASKS = ("iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud")
SEEDS = 5
CONFIGURATIONS = 8


CLASSIFICATION_ONLY = ("focal loss", "parametric loss", "class weighting")


def rows_of(
    option: str, outcomes: Mapping[tuple[str | None, str, int], Outcome], seeds: Sequence[int]
) -> list[Row]:
    """The figures of an option, of each task and of all."""
    rows, logs = [], []
    for task in tasks_of(option):
        pairs = [
            (outcomes[option, task, seed], outcomes[without(option), task, seed]) for seed in seeds
        ]
        best = [math.log(min(a.validation) / min(b.validation)) for a, b in pairs]
        test = [math.log(a.test / b.test) for a, b in pairs]
        each = [np.log(np.divide(a.validation, b.validation)).mean() for a, b in pairs]
        logs.append((best, test, each))
        for what, of in (("best", best), ("test of the best", test), ("each", each)):
            rows.append(Row(f"{option}, {task}", f"{what}, ratio", _exp(of), "without", 1.0))
    for index, what in enumerate(("best", "test of the best", "each")):
        of = [value for log in logs for value in log[index]]
        rows.append(Row(f"{option}, all", f"{what}, ratio", _exp(of), "without", 1.0))
    better = sum(value < 0 for log in logs for value in log[0])
    total = sum(len(log[0]) for log in logs)
    rows.append(Row(f"{option}, all", "searches that gain", better / total, "even", 0.5))
    return rows


def without(option: str) -> str | None:
    """What an option is compared with."""
    return ALONE if option == POPULATIONS else None


def tasks_of(option: str) -> Sequence[str]:
    """The tasks that an option fits."""
    return TASKS[:4] if option in CLASSIFICATION_ONLY else TASKS


def _exp(logs: Sequence[float]) -> float:
    return float(np.exp(np.mean(logs)))


def _print(rows: Sequence[Row], options: Sequence[str]) -> None:
    """The rows as a table of one line an option."""
    figures = {(row.case, row.metric): row.value for row in rows}
    heads = ["option", *TASKS, "all", "test", "each", "searches that gain"]
    table = Table(*heads, title="best validation loss with the option / without")
    metrics = ("best, ratio", "test of the best, ratio", "each, ratio", "searches that gain")
    for option in options:
        cases = [(f"{option}, {task}", metrics[0]) for task in TASKS]
        cases += [(f"{option}, all", metric) for metric in metrics]
        shown = [f"{figures[case]:.2f}" if case in figures else "" for case in cases]
        table.add_row(option, *shown)
    Console(soft_wrap=True).print(table)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed of two configurations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--options", nargs="*", default=list(OPTIONS), help="only these")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    seeds, count = (range(1), 2) if given.quick else (range(SEEDS), CONFIGURATIONS)
    wanted = [*dict.fromkeys(without(option) for option in given.options), *given.options]
    cases = [
        (option, task, seed, count)
        for seed, option in product(seeds, wanted)
        for task in (TASKS if option is None else tasks_of(option))
    ]
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        found = list(track(pool.map(searched, cases), "training", len(cases)))
    outcomes = {case[:3]: outcome for case, outcome in zip(cases, found, strict=True)}
    rows = [row for option in given.options for row in rows_of(option, outcomes, seeds)]
    _print(rows, given.options)
    if given.json is not None:
        write(rows, given.json)


if __name__ == "__main__":
    main()
