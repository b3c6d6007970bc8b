"""Which cells are run: all of them, or very few with every kind of figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metatune.errors import InputError
from transfer_benchmark.cells import Cell
from transfer_benchmark.methods import ALONE, METHODS, OURS
from transfer_benchmark.problems import CHANGES, HOSTILE, SCARCE
from transfer_benchmark.tables import load

_BASELINES = ("tpe", "gp", "tpe-again", "gp-again")
_BESIDE_SCARCE = (OURS, "tpe", "tpe-again")
_QUICK_PEERS = ("random", "tpe", "portfolio-greedy", "portfolio-tpe")
_CHEAP_TASK = {"lcbench": "jannis", "taskset": "patch32_GRU64_avg_bs128"}
# Of a slow method, only so many seeds are run; harm needs all of GP's in the disjoint pools.
_FEW_SEEDS = 2


@dataclass(frozen=True)
class Choice:
    """What to run: names of methods, protocols, tables and tasks (all where empty), and seeds."""

    methods: Sequence[str]
    protocols: Sequence[str]
    tables: Sequence[str]
    tasks: Sequence[str]
    seeds: int


def full(choice: Choice, data: Path) -> list[Cell]:
    """Every protocol with true experience; hostile and scarce experience and changed spaces in the
    disjoint pools. Raises InputError where a task is in none of the tables."""
    known = [task for table in choice.tables for task in load(table, data).values]
    for task in choice.tasks:
        if task not in known:
            raise InputError(f"--tasks: {task!r} is none of {known}")
    cells = []
    for table in choice.tables:
        for protocol in choice.protocols:
            cells += _grid(choice, data, table, protocol, "true", choice.methods)
            if protocol == "disjoint-pool":
                for hostile in HOSTILE:
                    cells += _grid(choice, data, table, protocol, hostile, [OURS, *_BASELINES])
                for scarce in SCARCE:
                    cells += _grid(choice, data, table, protocol, scarce, _BESIDE_SCARCE)
                changes = CHANGES if table == "lcbench" else {}
                for change in changes:
                    cells += _grid(choice, data, table, protocol, change, [OURS, "tpe"])
    return cells


def quick(choice: Choice) -> list[Cell]:
    """One task and seed of everything but scarce experience, cheap peers alone."""
    pool, jannis, gru = "disjoint-pool", _CHEAP_TASK["lcbench"], _CHEAP_TASK["taskset"]
    wanted = [
        ("lcbench", pool, "true", jannis, (OURS, "rgpe", *_QUICK_PEERS)),
        ("lcbench", "continuous-disjoint", "true", jannis, (OURS, *_QUICK_PEERS)),
        ("lcbench", "continuous", "true", jannis, (OURS, "random", "portfolio")),
        ("taskset", pool, "true", gru, (OURS, ALONE, "rgpe", *_QUICK_PEERS, *_BASELINES)),
        *[("taskset", pool, hostile, gru, (OURS, *_BASELINES)) for hostile in HOSTILE],
        *[("lcbench", pool, change, jannis, (OURS, "tpe")) for change in CHANGES],
    ]
    return [
        Cell(table, protocol, experience, 0, task, method)
        for table, protocol, experience, task, methods in wanted
        if protocol in choice.protocols and table in choice.tables
        for method in dict.fromkeys(methods)
        if method in choice.methods
    ]


def _grid(
    choice: Choice,
    data: Path,
    table: str,
    protocol: str,
    experience: str,
    methods: Iterable[str],
) -> list[Cell]:
    tasks = [task for task in load(table, data).values if task in (choice.tasks or [task])]
    return [
        Cell(table, protocol, experience, seed, task, method)
        for method in methods
        if method in choice.methods
        for seed in range(_seeds(choice.seeds, protocol, method))
        for task in tasks
    ]


def _seeds(seeds: int, protocol: str, method: str) -> int:
    needed = method in _BASELINES and protocol == "disjoint-pool"
    return min(seeds, _FEW_SEEDS) if METHODS[method].slow and not needed else seeds
