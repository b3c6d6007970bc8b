"""A population in one Ray Tune trial, against one trial for each network."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from results import Row

from metatune.networks.data.loading import load
from metatune.orchestration.cluster import connected, environment
from population_benchmark.cases import mlp
from population_benchmark.plain_trials import EPOCHS, ClassTrial, function_trial
from population_benchmark.population_trial import population_trial
from population_benchmark.processes import CpuMeter

NETWORKS = 64
CONCURRENCY = 2
FUNCTION, CLASS = "fresh function trials", "class trials, reuse_actors"
# Of which the cost of a trial is the difference, where not all are run.
_FEW = {FUNCTION: (2, 4), CLASS: (2, 18)}


def tune_rows(quick: bool) -> list[Row]:
    """CPU seconds of all processes, without those of starting the cluster."""
    kinds = [True] if quick else [True, False]
    rows = []
    with CpuMeter() as meter, tempfile.TemporaryDirectory() as folder, connected():
        bench = _Bench(meter, Path(folder))
        bench.population(True)  # the first trial of a cluster waits for its workers
        for reports in kinds:
            ours = bench.population(reports)
            for peer, trainable in ((FUNCTION, function_trial), (CLASS, ClassTrial)):
                name = f"{NETWORKS} networks, {EPOCHS} epochs, reported "
                name += "each epoch" if reports else "once"
                if quick:
                    few, more = _FEW[peer]
                    spent = bench.trials(trainable, few, reports)
                    each = (bench.trials(trainable, more, reports) - spent) / (more - few)
                    theirs = spent + (NETWORKS - few) * each
                    name += f", peer extrapolated from {few} and {more} trials"
                else:
                    theirs = bench.trials(trainable, NETWORKS, reports)
                rows.append(Row(name, "cpu_seconds", ours, peer, theirs))
    return rows


class _Bench:
    """Runs trials on the cluster, and counts what they cost."""

    def __init__(self, meter: CpuMeter, folder: Path) -> None:
        self._meter, self._folder, self._data = meter, folder, folder / "digits.npz"
        self._digits = digits = load("digits")
        arrays = {
            f"{name}_{kind}": getattr(split, kind).numpy()
            for name, split in (("train", digits.train), ("validation", digits.validation))
            for kind in ("inputs", "targets")
        }
        np.savez(self._data, **arrays)

    def population(self, reports: bool) -> float:
        """CPU seconds of all networks as one population in one trial."""
        rates = [1e-3 * (1 + index / NETWORKS) for index in range(NETWORKS)]
        space = {
            "settings": mlp(1, 48).config,
            "learning_rates": rates,
            "epochs": EPOCHS,
            "reports": reports,
        }
        trainable = tune.with_parameters(population_trial, dataset=self._digits)
        return self._spent(trainable, space, 1, reuse=False)

    def trials(self, trainable: Any, count: int, reports: bool) -> float:
        """CPU seconds of one trial for each of `count` networks."""
        rate = tune.loguniform(1e-4, 1e-2)
        space = {"learning_rate": rate, "reports": reports, "data": str(self._data)}
        return self._spent(trainable, space, count, reuse=trainable is ClassTrial)

    def _spent(self, trainable: Any, space: dict[str, Any], count: int, reuse: bool) -> float:
        began = self._meter.seconds()
        with environment(RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1"):
            tuner = tune.Tuner(
                tune.with_resources(trainable, {"cpu": 1}),
                param_space=space,
                tune_config=tune.TuneConfig(
                    num_samples=count, max_concurrent_trials=CONCURRENCY, reuse_actors=reuse
                ),
                run_config=tune.RunConfig(storage_path=str(self._folder / "runs"), verbose=0),
            )
            results = tuner.fit()
        if results.num_errors or results.num_terminated != count:
            raise RuntimeError(
                f"{results.num_terminated} of {count} trials ended: {results.errors}"
            )
        return self._meter.seconds() - began
