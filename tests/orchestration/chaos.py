"""A cluster of three nodes whose processes are killed at random while it is searched."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent
METATUNE = [sys.executable, "-m", "metatune"]
# A node that died is noticed after a second instead of a quarter of a minute, and all end at once.
QUICK = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}


@dataclass
class ChaosCluster:
    """Three nodes of one processor each that `metatune cluster up` runs, and more that take the
    places of those that were killed. `environment` is for whoever uses it."""

    up: subprocess.Popen[str]
    address: str
    folder: Path
    temporary: str
    environment: dict[str, str]
    added: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def processes(self) -> list[psutil.Process]:
        """All that run."""
        found = []
        for pid in (self.up.pid, *(node.pid for node in self.added)):
            with suppress(psutil.NoSuchProcess):
                found += psutil.Process(pid).children(recursive=True)
        return [process for process in found if is_running(process)]

    def named(self, name: str) -> list[psutil.Process]:
        """Those of that name that run."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if process.name() == name:
                    found.append(process)
        return found

    def nodes(self) -> list[psutil.Process]:
        """The nodes beside the head."""
        return [node for node in self.named("raylet") if "--head" not in _command(node)]

    def workers(self) -> list[psutil.Process]:
        """The processes in which trials are."""
        return [p for p in self.processes() if _command(p)[:1] and _is_trial(_command(p)[0])]

    def add_node(self) -> None:
        """Start a node like the others."""
        number = len(self.added)
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
        command += [f"--address={self.address}", f"--temp-dir={self.temporary}/{number}"]
        with (self.folder / f"node-{number}.log").open("wb") as log:
            self.added.append(
                subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
            )


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is_trial(title: str) -> bool:
    return title.startswith("ray::") and not title.startswith(
        ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
    )


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def chaos_cluster(folder: Path) -> Iterator[ChaosCluster]:
    """A cluster; when the block ends nothing of it may run any more."""
    folder.mkdir()
    temporary = tempfile.mkdtemp()  # not in `folder`: names of sockets must be short
    environment = {**os.environ, **QUICK, "RAY_AUTH_MODE": "token"}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    command = [*METATUNE, "cluster", "up", "--local", "3", "--json"]
    before = {process.pid for process in psutil.process_iter()}
    with (folder / "up.log").open("w") as log:
        up = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert up.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(up.stdout.readline())
            assert lines[-1], "the cluster did not start"
        address = json.loads("".join(lines))["address"]
        cluster = ChaosCluster(up, address, folder, temporary, environment)
        yield cluster
        assert any(map(_is_ours, psutil.process_iter()))
        for node in cluster.added:
            node.terminate()
        up.terminate()
        for node in cluster.added:
            node.wait(60)
        up.wait(60)
        _check_no_orphans(before)
    finally:
        if up.poll() is None:
            up.kill()
        up.communicate()
        shutil.rmtree(temporary, ignore_errors=True)


def _check_no_orphans(before: set[int]) -> None:
    """Nothing that Ray started since then runs any more, whoever is its parent now; agents of a
    cluster without a head look for it for a minute."""
    end = time.monotonic() + 120
    while left := [str(p) for p in psutil.process_iter() if p.pid not in before and _is_ours(p)]:
        assert time.monotonic() < end, left
        time.sleep(0.5)


def _is_ours(process: psutil.Process) -> bool:
    """Whether it is of Ray, in this network namespace, and begun by a test of this process: each
    that runs tests has a home of its own."""
    try:
        mine = Path("/proc/self/ns/net").readlink()
        same = Path(f"/proc/{process.pid}/ns/net").readlink() == mine
        said = " ".join(process.cmdline())
        rays = "ray::" in said or "/ray/" in said or "ray-dashboard" in said
        at_home = process.environ().get("HOME") == os.environ["HOME"]
        return same and rays and at_home and is_running(process)
    except (psutil.Error, OSError):
        return False


@dataclass
class Chaos:
    """Kills workers, nodes and the driver, `kills` in all, evenly over the search of `count`
    trials that `command` makes, which is run again until it ends by itself."""

    cluster: ChaosCluster
    command: list[str]
    count: int
    kills: int
    seed: int = 0
    kinds: tuple[str, ...] = ("worker", "node", "driver")
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, progress: Callable[[], int], seconds: float) -> float:
        """Seconds until the search has ended; `progress` says how many trials have been begun, or
        have ended."""
        rng, began = random.Random(self.seed), time.monotonic()
        kinds = [self.kinds[number % len(self.kinds)] for number in range(self.kills)]
        rng.shuffle(kinds)
        driver = self._start()
        try:
            while driver.poll() is None or driver.returncode == -signal.SIGKILL:
                assert time.monotonic() - began < seconds, self.tail()
                if driver.poll() is not None:
                    driver = self._start()
                time.sleep(0.2)
                due = (self.counts.total() + 1) * self.count // (self.kills + 2)
                if kinds and progress() >= due and self._kill(kinds[-1], driver, rng):
                    self.counts[kinds.pop()] += 1
        finally:
            driver.kill()
            driver.wait()
        assert driver.returncode == 0, self.tail()
        return time.monotonic() - began

    def tail(self) -> str:
        """What the drivers said last."""
        return self._log.read_text(errors="replace")[-4000:]

    @property
    def _log(self) -> Path:
        return self.cluster.folder / "driver.log"

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                cwd=HERE,
                env=self.cluster.environment,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def _kill(self, kind: str, driver: subprocess.Popen[bytes], rng: random.Random) -> bool:
        """Whether there was one of that kind to kill; only while trials run."""
        if driver.poll() is not None or not self.cluster.workers():
            return False
        if kind == "driver":
            driver.kill()
            driver.wait()
            return True
        targets = self.cluster.workers() if kind == "worker" else self.cluster.nodes()
        if not targets:
            return False
        target = rng.choice(sorted(targets, key=lambda process: process.pid))
        with suppress(psutil.NoSuchProcess):
            target.kill()
        if kind == "node":
            self.cluster.add_node()
        return True
