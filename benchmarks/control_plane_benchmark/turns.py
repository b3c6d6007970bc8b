"""Two drivers that take turns, so that a busy machine is as busy for both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

_WARM = 0.2  # of the trials, before memory is looked at


@dataclass(frozen=True)
class Measured:
    """What one driver needed for `trials` trials; seconds are of its own turns."""

    trials: int
    seconds: float
    record: Mapping[str, Any]

    @property
    def rate(self) -> float:
        """Trials a second."""
        return self.trials / self.seconds

    @property
    def driver_milliseconds(self) -> float:
        """Of processor, a trial, in the driver."""
        return 1e3 * float(self.record["driver_seconds"]) / self.trials

    @property
    def all_milliseconds(self) -> float:
        """Of processor, a trial, in the driver and all that it started."""
        return self.driver_milliseconds + 1e3 * float(self.record["other_seconds"]) / self.trials

    @property
    def proposal_share(self) -> float:
        """Processor time of proposals, of the driver's time."""
        return float(self.record["proposal_seconds"]) / self.seconds

    @property
    def proposal_milliseconds(self) -> float:
        """Of processor, a trial, in proposals."""
        return 1e3 * float(self.record["proposal_seconds"]) / self.trials

    @property
    def process_megabytes(self) -> float:
        """Of memory for each process of a trial, shared pages left out."""
        sizes = self.record["process_bytes"]
        return float(np.median(sizes)) / 1e6 if sizes else float("nan")

    def slots(self, megabytes: float) -> float:
        """How many processes of trials fit beside the driver and Ray's own processes."""
        return (megabytes - float(self.record["other_bytes"]) / 1e6) / self.process_megabytes

    def megabytes(self, begin: float = _WARM, end: float = 1.0) -> float:
        """By which the driver grows for 1,000 trials, between these parts of them: the slope of
        least squares."""
        samples = np.asarray(self.record["samples"], dtype=float)
        low, high = begin * self.trials, end * self.trials
        # At the end Ray Tune writes down all trials, which takes memory of its own.
        ended, resident = samples[(samples[:, 0] >= low) & (samples[:, 0] < high)].T
        if len(set(ended)) < 2:
            return float("nan")
        return float(np.polyfit(ended, resident, 1)[0]) * 1000 / 1e6


def in_turns(cases: Mapping[str, Mapping[str, Any]], slice_seconds: float) -> dict[str, Measured]:
    """Run each case (see `driver`) in a process of its own, one of them at a time, in turn.

    The driver that waits is suspended, and with it its trials as soon as they have reported.
    """
    folder = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    with ExitStack() as stack:
        drivers: dict[str, subprocess.Popen[str]] = {}
        for name, case in cases.items():
            driver = subprocess.Popen(
                [sys.executable, "-m", "control_plane_benchmark.driver", json.dumps(case)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            )
            stack.callback(_end, driver)
            drivers[name] = driver
            _expect_ready(driver)
            driver.send_signal(signal.SIGSTOP)
        turns = _take_turns(drivers, slice_seconds)
        records = {name: _record(driver) for name, driver in drivers.items()}
    return {
        name: Measured(int(cases[name]["trials"]), _own_seconds(record, turns[name]), record)
        for name, record in records.items()
    }


def _take_turns(
    drivers: Mapping[str, subprocess.Popen[str]], slice_seconds: float
) -> dict[str, list[tuple[float, float]]]:
    """When each driver ran."""
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in drivers}
    for name in cycle(drivers):
        driver = drivers[name]
        if driver.poll() is None:
            if not turns[name] and driver.stdin is not None:
                driver.stdin.write("go\n")
                driver.stdin.flush()
            began = time.monotonic()
            driver.send_signal(signal.SIGCONT)
            try:
                driver.wait(slice_seconds)
            except subprocess.TimeoutExpired:
                driver.send_signal(signal.SIGSTOP)
            turns[name].append((began, time.monotonic()))
        if all(driver.poll() is not None for driver in drivers.values()):
            break
    return turns


def _own_seconds(record: Mapping[str, Any], turns: list[tuple[float, float]]) -> float:
    """Between begin and end, in own turns."""
    began, ended = record["began"], record["ended"]
    return float(sum(max(0.0, min(to, ended) - max(since, began)) for since, to in turns))


def _expect_ready(driver: subprocess.Popen[str]) -> None:
    line = driver.stdout.readline() if driver.stdout is not None else ""
    if line.strip() != "ready":
        raise RuntimeError(f"a driver did not start: {line!r}")


def _record(driver: subprocess.Popen[str]) -> dict[str, Any]:
    output = driver.communicate()[0]
    if driver.returncode != 0:
        raise RuntimeError(f"a driver ended with {driver.returncode}: {output}")
    said = [line for line in output.splitlines() if line.startswith("{")]  # the rest is Ray's
    record: dict[str, Any] = json.loads(said[-1])
    return record


def _end(driver: subprocess.Popen[str]) -> None:
    if driver.poll() is None:
        driver.send_signal(signal.SIGCONT)
        driver.terminate()
        driver.wait()
