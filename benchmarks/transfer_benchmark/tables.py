"""Published tables of real trainings: the same configurations on every task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from metatune.errors import InputError
from metatune.parameters import Vectors
from metatune.space import Config, SearchSpace
from metatune.task import Direction


@dataclass(frozen=True)
class Source:
    """Where a table stands: its file, what it measures, and the value of a column's entry.

    `ceiling`: for interpolation, how far above the median a value may lie, in units of how far
    the best lies below it.
    """

    file: str
    metric: str
    direction: Direction
    column: str
    value: Callable[[Any], float]
    ceiling: float


def _last(curve: list[float | None]) -> float:
    return float("nan") if curve[-1] is None else curve[-1]


SOURCES = {
    "lcbench": Source("lcbench_final.parquet", "accuracy", "maximize", "value", float, math.inf),
    "taskset": Source("taskset_curves.parquet", "loss", "minimize", "curve", _last, 3.0),
}


@dataclass(frozen=True)
class Table:
    """`values[task]` [n] of the n `configs`, lower is better, infinite where training failed.

    `vectors` [n, d] are the configurations in [0, 1].
    """

    name: str
    space: SearchSpace
    configs: list[Config]
    vectors: Vectors
    values: dict[str, Vectors]


@cache
def load(name: str, folder: Path) -> Table:
    """The table of that name in SOURCES; raises InputError where its file is missing."""
    source = SOURCES[name]
    file = folder / source.file
    if not file.is_file():
        raise InputError(f"--data {folder}: there is no {source.file}")
    space = SearchSpace.load(Path(__file__).parent / f"{name}.toml")
    columns = pq.read_table(file).sort_by([("task", "ascending"), ("config_id", "ascending")])
    records = columns.select(["task", *space.names, source.column]).to_pylist()
    tasks: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        tasks.setdefault(record["task"], []).append(record)
    of_tasks = {
        task: [space.check({n: row[n] for n in space.names}, f"{file}: {task}") for row in rows]
        for task, rows in tasks.items()
    }
    configs = next(iter(of_tasks.values()))
    for task, others in of_tasks.items():
        if others != configs:
            raise InputError(f"{file}: {task} has other configurations than {next(iter(of_tasks))}")
    values = {
        task: _inward(np.asarray([source.value(row[source.column]) for row in rows]), source)
        for task, rows in tasks.items()
    }
    vectors = np.stack([space.encode(config) for config in configs])
    return Table(name, space, configs, vectors, values)


def _inward(values: Vectors, source: Source) -> Vectors:
    lower_is_better = -values if source.direction == "maximize" else values
    return np.where(np.isfinite(lower_is_better), lower_is_better, np.inf)
