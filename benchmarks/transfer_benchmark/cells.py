"""Cells: one method on one problem, run trial by trial, and kept in a cache."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.progress import track

from metatune.optimizers.optimizer import MetaOptimizer
from metatune.study import Study
from metatune.trial import Trial, derive_seed
from transfer_benchmark.methods import METHODS
from transfer_benchmark.problems import CHANGES, RESHAPED, Problem, finished, problem, stable_hash

TRIALS = 100
# Where spaces differ, the first trials are what counts.
_TRIALS_OF_CHANGES = 10


@dataclass(frozen=True, order=True)
class Cell:
    """What is run; ordered so that cells of one problem stand together."""

    table: str
    protocol: str
    experience: str
    seed: int
    task: str
    method: str

    @property
    def seen(self) -> Cell:
        """The cell as its method sees it: changed experience is nothing to one without memory,
        unless the space that it searches changes too."""
        if self.experience not in RESHAPED and not METHODS[self.method].remembers:
            return replace(self, experience="true")
        return self

    @property
    def file(self) -> Path:
        """Its place in a cache."""
        folder = Path(self.table, self.protocol, self.experience.replace(" ", "-"), self.method)
        return folder / f"{self.task}-{self.seed}.json"


@dataclass(frozen=True)
class Run:
    """Regret of the best of the first 1, 2, ... trials, and CPU seconds of each suggestion.

    The first suggestion includes the fit to the past tasks.
    """

    regrets: list[float]
    cpu: list[float]
    version: str


def run(cell: Cell, data: Path) -> Run:
    """Search one problem with one method."""
    trials = _TRIALS_OF_CHANGES if cell.seen.experience in CHANGES else TRIALS
    posed = problem(cell.table, data, cell.protocol, cell.experience, cell.task, cell.seed)
    method = METHODS[cell.method]
    # Of the task too: what starts at random starts differently on each.
    seed = derive_seed(cell.seed, stable_hash(cell.task), method.salt)
    start = time.process_time()
    optimizer = method.make(posed.past, posed.space, posed.candidates, seed)
    made = time.process_time() - start
    regrets, cpu = searched(posed, optimizer, seed, trials)
    cpu[0] += made
    return Run(regrets, cpu, method.version)


def searched(
    posed: Problem, optimizer: MetaOptimizer, seed: int, count: int
) -> tuple[list[float], list[float]]:
    """Regret of the best of the first 1, 2, ... `count` trials, and CPU seconds of each
    suggestion."""
    study = Study(f"benchmark-{posed.task.name}-{seed}", posed.task, posed.space, seed)
    trials: list[Trial] = []
    tried: set[int] = set()
    regrets: list[float] = []
    cpu: list[float] = []
    incumbent = math.inf
    for number in range(count):
        start = time.process_time()
        suggestion = optimizer.suggest(study, trials, 1, seed)[0]
        cpu.append(time.process_time() - start)
        config, value = posed.evaluate(suggestion.config, tried)
        suggestion = replace(suggestion, config=config)
        trial = Trial(study.name, number, suggestion, derive_seed(seed, number, 1))
        trials.append(finished(trial, value))
        incumbent = min(incumbent, value)
        regrets.append(posed.regret(incumbent))
    return regrets, cpu


def run_all(
    cells: Iterable[Cell], data: Path, cache: Path, pool: ProcessPoolExecutor | None
) -> dict[Cell, Run]:
    """Every cell's run, from the cache where it is there in the method's present version; without
    a pool to run the others in, these alone."""
    wanted = {cell: cell.seen for cell in cells}
    if pool is not None:
        _run_missing(wanted.values(), data, cache, pool)
    runs = {cell: _read(seen, cache) for cell, seen in wanted.items()}
    return {cell: run for cell, run in runs.items() if run is not None}


def _run_missing(cells: Iterable[Cell], data: Path, cache: Path, pool: ProcessPoolExecutor) -> None:
    missing = sorted({cell for cell in cells if _read(cell, cache) is None})
    running = [pool.submit(_run_and_write, cell, data, cache) for cell in missing]
    for done in track(running, "cells"):
        done.result()


def _run_and_write(cell: Cell, data: Path, cache: Path) -> None:
    record = asdict(cell) | asdict(run(cell, data))
    file = cache / cell.file
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(record))
    part.replace(file)


def _read(cell: Cell, cache: Path) -> Run | None:
    file = cache / cell.file
    if not file.is_file():
        return None
    record = json.loads(file.read_text())
    if record["version"] != METHODS[cell.method].version:
        return None
    return Run(record["regrets"], record["cpu"], record["version"])
