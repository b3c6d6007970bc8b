"""One driver in a process of its own: `python -m control_plane_benchmark.driver CASE`.

CASE is JSON: side, trials, slots, dimensions. It says "ready" when its cluster runs, begins when
it is told a line, and says in JSON what it measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from control_plane_benchmark.sides import (
    Progress,
    Stopwatch,
    TimedOptunaSearch,
    TimedTPE,
    bare,
    recorded,
)
from metatune.experience.store import ExperienceStore
from metatune.orchestration.cluster import connected

_SAMPLE_SECONDS = 0.5
Sample = tuple[int, int]  # trials that have ended, resident bytes of the driver


def run(side: str, folder: Path, progress: Progress, stopwatch: Stopwatch, **case: int) -> int:
    """How many trials one side ran to their end."""
    if side == "bare":
        return bare(folder, progress=progress, **case)
    if side == "optuna":
        searcher = TimedOptunaSearch(stopwatch, case["dimensions"])
        return bare(folder, progress=progress, search_alg=searcher, **case)
    optimizer = TimedTPE(stopwatch) if side == "tpe" else None
    return recorded(folder, progress=progress, optimizer=optimizer, **case)


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Wall clock, processor time, memory over trials, and what the processes of trials take."""
    progress, stopwatch, samples, over = Progress(), Stopwatch(), list[Sample](), threading.Event()
    me = psutil.Process()
    workers: list[int] = []
    rest: list[int] = []

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            samples.append((progress.ended, me.memory_info().rss))
            if not workers and len(progress.processes) == case["slots"]:
                workers.extend(_unshared(pid) for pid in progress.processes)
                others = {child.pid for child in me.children(recursive=True)} - progress.processes
                rest.extend(_unshared(pid) for pid in (me.pid, *others))

    with tempfile.TemporaryDirectory() as name:
        print("ready", flush=True)
        sys.stdin.readline()
        began, cpu, tree = time.monotonic(), time.process_time(), _processor_seconds(me)
        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            ended = run(folder=Path(name), progress=progress, stopwatch=stopwatch, **case)
        finally:
            over.set()
            sampler.join()
        measured = {
            "began": began,
            "ended": time.monotonic(),
            "driver_seconds": time.process_time() - cpu,
            "other_seconds": _processor_seconds(me) - tree,
            "proposal_seconds": stopwatch.seconds,
            "processes": len(progress.processes),
            "process_bytes": workers,
            "other_bytes": sum(rest),
            "samples": samples,
            "files": sum(1 for _ in Path(name).glob("trials/**/*.parquet")),
        }
        if ended != case["trials"]:
            raise RuntimeError(f"{case}: only {ended} trials ended")
        if case["side"] in ("metatune", "tpe") and _stored(name) != case["trials"]:
            raise RuntimeError(f"{case}: not all trials are in the store once")
    return measured


def _stored(folder: str) -> int:
    trials = ExperienceStore(folder).trials()
    return len({trial.number for trial in trials if trial.state.finished})


def _processor_seconds(process: psutil.Process) -> float:
    """Of all processes that it has started, directly or not."""
    seconds = 0.0
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            times = child.cpu_times()
            seconds += times.user + times.system
    return seconds


def _unshared(pid: int) -> int:
    """Bytes that would be free without the process; 0 if it has ended."""
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_full_info().uss)
    return 0


if __name__ == "__main__":
    with connected():
        print(json.dumps(measure(json.loads(sys.argv[1]))), flush=True)
