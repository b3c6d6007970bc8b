"""What does training K networks as one program save?

Training steps of K networks as one program against a plain loop over them; a population that
chooses for itself how many are computed as one, against the same loop; a population in one Ray Tune
trial against one trial for each network; and a whole search against the same search with one
network in each trial. The first two are CPU seconds of one thread, taken in turn with the peer's,
and the repetition with the median ratio is reported; their images and classes are random, which
makes no difference to what a step costs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path

import torch
from population_benchmark.cases import cases, mlp
from population_benchmark.chosen import chosen_rows
from population_benchmark.searches import search_rows
from population_benchmark.steps import BATCHES, Load, step_rows
from population_benchmark.tune_trials import tune_rows
from results import Row, finish
from rich.progress import track

SHAPES = ((1, 8, 8), (1, 16, 16), (3, 32, 32))
# Of 4,042 and of 17,062 weights; and, of about as many, with one hidden layer.
_SMALL, _MIDDLE = mlp(2, 36), mlp(2, 98)
_SHALLOW = mlp(1, 48), mlp(1, 224)


def steps(quick: bool) -> list[Row]:
    """Training steps."""
    if quick:
        loads = [(Load(case, (64,), (64,)), 5) for case in (_SMALL, _MIDDLE)]
        loads += [(Load(_MIDDLE, (64,), (64,), 16), 5)]
        loads += [(Load(case, (64,)), 5) for case in _SHALLOW]
    else:
        counts = (1, 4, 16, 64, 256)
        loads = [
            *[(Load(case, counts, (64, 256)), 9) for case in (_SMALL, _MIDDLE)],
            *[(Load(case, (64,), (64,), 16), 9) for case in (_SMALL, _MIDDLE)],
            *[(Load(case, counts[2:], (64,)), 9) for case in _SHALLOW],
            (Load(mlp(2, 36, dropout=0.25), counts[2:], (64,)), 7),
            *[(Load(case, counts[:4], (16,)), 5) for case in cases(SHAPES[0])[1:]],
            *[(Load(case, (1, 4, 16)), 3) for case in cases(SHAPES[1])],
            *[(Load(case, (1, 4)), 3) for case in cases(SHAPES[2])],
        ]
    return _rows(quick, step_rows, loads)


def chosen(quick: bool) -> list[Row]:
    """Populations that choose for themselves."""
    members, repetitions = (8, 1) if quick else (16, 5)
    every = [
        (case, members, batches // 2 if quick else batches, repetitions)
        for shape, batches in zip(SHAPES, (BATCHES, BATCHES // 2, BATCHES // 4), strict=True)
        for case in cases(shape)
    ]
    return _rows(quick, chosen_rows, every)


def searches(quick: bool) -> list[Row]:
    """Whole searches."""
    return search_rows(16, 1, 8) if quick else search_rows(256, 5, 8)


def _rows(
    quick: bool, measured: Callable[..., list[Row]], arguments: Sequence[tuple[object, ...]]
) -> list[Row]:
    """What is measured with each of some arguments, in processes of one thread: in the quick form
    two side by side."""
    with ProcessPoolExecutor(
        2 if quick else 1,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        runs = [pool.submit(measured, *each) for each in arguments]
        return [row for run in track(runs, measured.__name__) for row in run.result()]


PARTS: Mapping[str, Callable[[bool], list[Row]]] = {
    "steps": steps,
    "chosen": chosen,
    "tune": tune_rows,
    "searches": searches,
}


def main() -> None:
    """Print the table."""
    options = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started from here
    rows: list[Row] = []
    parts = options.parts or ([] if options.merge else list(PARTS))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # nothing is compiled yet
        for name in parts:
            rows += PARTS[name](options.quick)
    rows = _merged(options.merge, rows)
    finish(rows, "population", options.json)
    if options.plot is not None:
        from population_benchmark.plot import draw  # needs the extra `peers`

        draw(rows, options.plot)


def _merged(files: Sequence[Path], rows: list[Row]) -> list[Row]:
    """The rows of some files and these; of rows with the same names the last."""
    names = [field.name for field in fields(Row)]
    records = [record for file in files for record in json.loads(file.read_text())["rows"]]
    every = [*[Row(**{name: record[name] for name in names}) for record in records], *rows]
    return list({(row.case, row.metric, row.peer): row for row in every}.values())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="K=64 alone, and less of all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png")
    parser.add_argument(
        "--parts", type=_among(PARTS), metavar="A,B", help="default: all, with --merge none"
    )
    parser.add_argument(
        "--merge",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files that --json wrote, whose rows are added",
    )
    return parser.parse_args()


def _among(allowed: Collection[str]) -> Callable[[str], Sequence[str]]:
    """A parser of comma-separated names, all of them allowed."""

    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {list(allowed)}")
        return names

    return parse


if __name__ == "__main__":
    main()
