"""What recording costs: one-step trials through metatune and through bare Ray Tune.

Both run the same class trainable with `reuse_actors` on the same private cluster, two at a time,
in turn (bare, metatune, bare, ...). The rate is trials over wall seconds of the whole call, opening
the study and making every trial durable included, importing either package not; medians over the
repetitions.

With --scale: 10,000 trials, TPE for 1,000, many processes of trials, and a population of 1,000. The
drivers are processes of their own and take turns of 10 s, the other one being suspended, so that a
busy machine is as busy for both; bare Ray Tune then keeps no snapshots and no checkpoints, so that
all it has done is lost with its driver. Rates are over a driver's own turns, from the call to its
return; processor time also counts what the driver started. A driver's growth is the slope of least
squares of its resident memory over trials, from a fifth of them on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from control_plane_benchmark.scale import PARTS, QUICK_PARTS
from ray import tune
from results import Row, finish, write

import metatune
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.cluster import connected, environment
from metatune.orchestration.running import Resources
from metatune.orchestration.search import search

TRIALS = 300
CONCURRENCY = 2


class OneStep(tune.Trainable):
    """Ends after one report."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the configuration."""
        self.x = config["x"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another configuration."""
        self.x = new_config["x"]
        return True

    def step(self) -> dict[str, Any]:
        """The one report."""
        return {"loss": (self.x - 0.3) ** 2, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save."""

    def load_checkpoint(self, checkpoint: str) -> None:
        """Nothing to load."""


def bare(folder: Path) -> float:
    """Trials a second of bare Ray Tune."""
    began = time.perf_counter()
    with environment(RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1"):
        tuner = tune.Tuner(
            tune.with_resources(OneStep, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                num_samples=TRIALS, max_concurrent_trials=CONCURRENCY, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        )
        done = len(tuner.fit())
    if done != TRIALS:
        raise RuntimeError(f"bare Ray Tune ran {done} trials, not {TRIALS}")
    return TRIALS / (time.perf_counter() - began)


def recorded(folder: Path) -> float:
    """Trials a second of a search with RandomSearch, every trial durable in the store."""
    began = time.perf_counter()
    result = search(
        metatune.SearchSpace({"x": metatune.Float(0, 1)}),
        metatune.Task("one-step"),
        OneStep,
        trials=TRIALS,
        store=folder,
        optimizer=RandomSearch(),
        resources=Resources(concurrency=CONCURRENCY),
        display=False,
    )
    rate = TRIALS / (time.perf_counter() - began)
    kept = metatune.ExperienceStore(folder).trials()
    if not result.complete or len(kept) != TRIALS:
        raise RuntimeError(f"the store holds {len(kept)} trials, not {TRIALS}")
    return rate


def main() -> None:
    """Print the table."""
    options = _options()
    if options.scale is not None:
        for part in options.scale or (QUICK_PARTS if options.quick else PARTS):
            _finish(PARTS[part](options.quick), options.json)
        return
    rates: dict[str, list[float]] = {"bare": [], "metatune": []}
    with connected():
        for _ in range(1 if options.quick else 5):
            for name, run in (("bare", bare), ("metatune", recorded)):
                with tempfile.TemporaryDirectory() as folder:
                    rates[name].append(run(Path(folder)))
    for name, values in rates.items():
        print(name, "trials/s:", "  ".join(f"{value:.1f}" for value in values))
    row = Row(
        f"{TRIALS} one-step trials, {CONCURRENCY} at a time",
        "trials_per_second",
        statistics.median(rates["metatune"]),
        "bare Ray Tune, reuse_actors",
        statistics.median(rates["bare"]),
    )
    _finish([row], options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials: end within a minute")
    parser.add_argument(
        "--scale",
        nargs="*",
        choices=PARTS,
        metavar="PART",
        help=f"many trials: all or some of {', '.join(PARTS)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the rows there too")
    return parser.parse_args()


def _finish(rows: list[Row], file: Path | None) -> None:
    """Print the rows; in `file` they take the place of those of the same cases."""
    known = json.loads(file.read_text())["rows"] if file is not None and file.exists() else []
    kept = [{k: v for k, v in row.items() if k != "ratio"} for row in known]
    cases = {row.case for row in rows}
    finish(rows, "control plane", None)
    if file is not None:
        write([Row(**row) for row in kept if row["case"] not in cases] + rows, file)


if __name__ == "__main__":
    main()
