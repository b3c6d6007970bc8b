"""The same short trials through metatune and through bare Ray Tune."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

import metatune
from control_plane_benchmark.short import Lasting, Short
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.cluster import environment
from metatune.orchestration.running import Resources
from metatune.orchestration.search import search
from metatune.parameters import Value
from metatune.study import Study
from metatune.trial import Suggestion, Trial

# Bare Ray Tune is as bare as it gets: it prints nothing, logs nothing and keeps no snapshots, so
# that what it has done is lost with its process.
BARE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
}


def share(slots: int) -> float:
    """The processors of each trial, so that `slots` of them fill the machine: Ray Tune alone would
    start a process for every trial that fits, whatever `max_concurrent_trials` says."""
    return math.floor(1e4 * (os.cpu_count() or 1) / slots) / 1e4


def _trainable(slots: int) -> type[Short]:
    """Where many processes are to run at a time, trials that last until they have started."""
    return Lasting if slots > 2 else Short


class Progress(tune.Callback):
    """How many trials have ended, and in which processes."""

    def __init__(self) -> None:
        self.ended = 0
        self.processes: set[int] = set()

    def __getstate__(self) -> dict[str, object]:
        return {}

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Count it."""
        self.ended += 1
        self.processes.add((trial.last_result or {}).get("process", 0))


class Stopwatch:
    """Seconds of processor of this thread inside some calls: a suspended driver spends none."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What the call returns."""
        began = time.thread_time()
        try:
            return call(*arguments, **named)
        finally:
            self.seconds += time.thread_time() - began


class TimedTPE:
    """metatune's TPE by the clock."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._tpe, self._stopwatch = TPE(), stopwatch

    def __str__(self) -> str:
        return str(self._tpe)

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer."""
        made: list[Suggestion] = self._stopwatch.time(
            self._tpe.suggest, study, trials, count, seed, given
        )
        return made


class TimedOptunaSearch(OptunaSearch):
    """Ray Tune's OptunaSearch by the clock."""

    def __init__(self, stopwatch: Stopwatch, dimensions: int) -> None:
        self._stopwatch = stopwatch
        super().__init__(
            space={f"x{i}": tune.uniform(0, 1) for i in range(dimensions)},
            metric="loss",
            mode="min",
            sampler=optuna.samplers.TPESampler(seed=0),
        )

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """See Searcher."""
        made: dict[str, Any] | None = self._stopwatch.time(super().suggest, trial_id)
        return made

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """See Searcher."""
        self._stopwatch.time(super().on_trial_complete, trial_id, result=result, error=error)


def bare(
    folder: Path,
    trials: int,
    slots: int,
    dimensions: int,
    progress: Progress,
    search_alg: Searcher | None = None,
) -> int:
    """How many of the trials end, run by Ray Tune alone, at random unless `search_alg` proposes."""
    names = [] if search_alg else [f"x{i}" for i in range(dimensions)]
    with environment(**BARE):
        tuner = tune.Tuner(
            tune.with_resources(_trainable(slots), {"cpu": share(slots)}),
            param_space={name: tune.uniform(0, 1) for name in names},
            tune_config=tune.TuneConfig(
                num_samples=trials,
                max_concurrent_trials=slots,
                reuse_actors=True,
                search_alg=search_alg,
            ),
            run_config=tune.RunConfig(
                storage_path=str(folder),
                verbose=0,
                callbacks=[progress],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        return len(tuner.fit())


def recorded(
    folder: Path,
    trials: int,
    slots: int,
    dimensions: int,
    progress: Progress,
    optimizer: metatune.MetaOptimizer | None = None,
) -> int:
    """How many of the trials are COMPLETE, run by a search that makes each durable in a store."""
    result = search(
        metatune.SearchSpace({f"x{i}": metatune.Float(0, 1) for i in range(dimensions)}),
        metatune.Task("short"),
        _trainable(slots),
        trials=trials,
        store=folder,
        optimizer=optimizer or RandomSearch(),
        resources=Resources(cpus=share(slots), concurrency=slots),
        callbacks=[progress],
        display=False,
    )
    values = [t.value for t in result.trials if t.value is not None and math.isfinite(t.value)]
    return len(values) if result.complete else 0
