"""What does transfer gain, what does it harm, and what does it cost?

Tables of real trainings, each task left out in turn and searched with the trials of the others.
Regret after n trials is 0 at the best value of the tested task's table and 1 at its median. The
protocols: `pool` chooses among the table's configurations, `continuous` asks anywhere and values
are interpolated; in the `disjoint` ones past tasks show one half of the configurations and the
tested task is made of the other. Hostile experience is false, scarce is of one to four past tasks.
Every figure stands beside a peer's on common cells (task, seed); slow peers run on fewer seeds.
Harm is the share of runs whose regret is more than .01 above that of the better of TPE and GP; its
noise floor is that of the same baseline with other seeds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from results import Row, finish
from rich.console import Console
from rich.progress import track
from transfer_benchmark import cost
from transfer_benchmark.cells import run_all
from transfer_benchmark.figures import Curves, beside_tpe_rows, by_setting, gain_rows
from transfer_benchmark.harm import harm_rows
from transfer_benchmark.methods import METHODS, OURS, is_installed
from transfer_benchmark.plan import Choice, full, quick
from transfer_benchmark.problems import CHANGES, HOSTILE, PROTOCOLS, SCARCE
from transfer_benchmark.tables import SOURCES

# Of the costs. A portfolio of 1,000 tasks takes minutes, as does a GP of thousands of trials.
_PEERS = ("tpe", "portfolio", "gp")


def main() -> None:
    """Run what is missing, print and write the rows."""
    options = _arguments()
    # Workers are started later, so that CPU seconds are those of one thread.
    os.environ["OMP_NUM_THREADS"] = "1"
    methods = [method for method in options.methods if is_installed(method)]
    for method in sorted(set(options.methods) - set(methods)):
        Console().print(f"{method} is left out: {METHODS[method].needs} is not installed")
    choice = Choice(methods, options.protocols, options.tables, options.tasks, options.seeds)
    cells = quick(choice) if options.quick else full(choice, options.data)
    if options.scaling:
        cells = []
    loads = cost.SCALING if options.scaling else (cost.Load(),)
    peers = _PEERS[:1] if options.scaling or options.quick else _PEERS
    context = get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(options.jobs, mp_context=context) as pool,
    ):
        costs = {
            (load, method): pool.submit(cost.measure, method, load)
            for load in loads
            for method in (OURS, *peers)
            if method in methods
        }
        workers = None if options.cached else pool
        runs = run_all(cells, options.data, options.cache or Path(temporary), workers)
        spent = {key: run.result() for key, run in track(costs.items(), "costs")}
    settings = by_setting(runs)
    rows = [row for curves in settings for row in _rows(curves)]
    if OURS in methods:
        for load in loads:
            others = {m: c for (of, m), c in spent.items() if of == load and m != OURS}
            rows += cost.cost_rows(load, spent[load, OURS], others)
    finish(rows, "transfer", options.json)
    if options.plot is not None:
        from transfer_benchmark.plot import draw  # needs the extra `peers`

        draw([curves for curves in settings if curves.setting.experience == "true"], options.plot)


def _rows(curves: Curves) -> list[Row]:
    if curves.setting.experience in CHANGES:
        return beside_tpe_rows(curves)
    if curves.setting.experience in SCARCE:
        return beside_tpe_rows(curves) + harm_rows(curves)
    if curves.setting.experience in HOSTILE:
        return harm_rows(curves)
    return gain_rows(curves) + harm_rows(curves)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one task and seed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--data", type=Path, required=True, help="folder of the Parquet tables")
    parser.add_argument("--cache", type=Path, help="folder of finished cells, used and added to")
    parser.add_argument("--cached", action="store_true", help="report what is in the cache")
    parser.add_argument("--methods", type=_among(METHODS), default=list(METHODS), metavar="A,B")
    parser.add_argument(
        "--protocols", type=_among(PROTOCOLS), default=list(PROTOCOLS), metavar="A,B"
    )
    parser.add_argument("--tables", type=_among(SOURCES), default=list(SOURCES), metavar="A,B")
    parser.add_argument("--tasks", type=_split, default=[], metavar="A,B", help="default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--scaling", action="store_true", help="only how the cost grows")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png")
    return parser.parse_args()


def _split(text: str) -> list[str]:
    return text.split(",")


def _among(allowed: Collection[str]) -> Callable[[str], list[str]]:
    """A parser of comma-separated names, all of them allowed."""

    def parse(text: str) -> list[str]:
        names = _split(text)
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {list(allowed)}")
        return names

    return parse


if __name__ == "__main__":
    main()
