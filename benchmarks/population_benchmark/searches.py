"""Whole searches from the command line, with populations and without."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from results import Row

from population_benchmark.processes import CpuMeter

_PEER = "--population 1"


@dataclass(frozen=True)
class _Search:
    """What a search took, of wall and of processor, and the best value that it found."""

    seconds: float
    cpu_seconds: float
    best: float


def search_rows(trials: int, seeds: int, population: int) -> list[Row]:
    """Medians over seeds of `metatune search mlp --task digits`, each in a process, a cluster and
    an empty store of its own; starting, compiling and training the best alone included."""
    options = ["--population", str(population)]
    ours, theirs = [], []
    with CpuMeter() as meter:
        for seed in range(seeds):
            ours.append(_searched(meter, trials, seed, options))
            theirs.append(_searched(meter, trials, seed, _PEER.split()))
    case = f"search mlp, digits, {trials} trials, populations of {population}"
    name = f"{case}, one seed" if seeds == 1 else f"{case}, median of {seeds} seeds"
    metrics = {"wall_seconds": "seconds", "cpu_seconds": "cpu_seconds", "best_log_loss": "best"}
    rows = []
    for metric, field in metrics.items():
        sides = ([getattr(search, field) for search in side] for side in (ours, theirs))
        value, peer = (statistics.median(side) for side in sides)
        rows.append(Row(name, metric, value, _PEER, peer))
    if seeds > 1:
        rows += [
            Row(f"{case}, seed {seed}", metric, getattr(one, field), _PEER, getattr(other, field))
            for seed, (one, other) in enumerate(zip(ours, theirs, strict=True))
            for metric, field in metrics.items()
        ]
    return rows


def _searched(meter: CpuMeter, trials: int, seed: int, options: list[str]) -> _Search:
    command = [sys.executable, "-m", "metatune", "search", "mlp", "--task", "digits"]
    command += ["--trials", str(trials), "--seed", str(seed), "--no-memory", "--json", *options]
    with tempfile.TemporaryDirectory() as store:
        cpu, began = meter.seconds(), time.perf_counter()
        done = subprocess.run(
            [*command, "--store", store], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds = time.perf_counter() - began
        spent = meter.seconds() - cpu
    found = json.loads(done.stdout)
    if not found["complete"]:
        raise RuntimeError(f"the search did not end: {done.stdout}")
    return _Search(seconds, spent, float(found["best"]["value"]))
