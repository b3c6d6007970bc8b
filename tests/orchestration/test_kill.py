"""The driver is killed at any moment, and the same command goes on."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from small_networks import SMALL

from metatune import ExperienceStore, Trial
from metatune.trial import TrialState

HERE = Path(__file__).parent
SPACE = """
[x]
type = "float"
low = 0.0
high = 1.0
[seconds]
type = "categorical"
choices = [0.02]
"""
TRIALS = 40


def outcomes(store: Path) -> list[tuple[object, ...]]:
    """Everything about each trial that does not depend on the clock."""
    return [
        (t.number, t.config, t.seed, t.state, t.value, [(r.step, r.value) for r in t.curve])
        for t in ExperienceStore(store).trials()
    ]


def test_killed_at_every_write_boundary_the_search_is_the_same(tmp_path: Path) -> None:
    def run(store: str, *crash: str) -> int:
        script = str(HERE / "crash_driver.py")
        command = [sys.executable, script, str(tmp_path / store), str(TRIALS), *crash]
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert run("undisturbed") == 0
    counts = itertools.cycle((1, 4, 9, 14))
    for call, when in itertools.product(("open", "fsync", "replace"), ("before", "after")):
        assert run("killed", call, when, str(next(counts))) == -9, (call, when)
    assert run("killed") == 0
    assert len(outcomes(tmp_path / "killed")) == TRIALS
    assert outcomes(tmp_path / "killed") == outcomes(tmp_path / "undisturbed")
    assert ExperienceStore(tmp_path / "killed").verify() == []


CLASS = ["--task", "toy", "--trainable", "trainables:Class", "--trials", str(TRIALS)]
CLASS += ["--max-steps", "9"]
MEMBERS = 16
POPULATIONS = ["--task", "iris", "--population", "4", "--trials", str(MEMBERS), "--epochs", "60"]


class Driver:
    """`metatune search`, in a process that can be killed."""

    def __init__(self, store: Path, space: Path, concurrency: int, options: list[str]) -> None:
        # The command line, but for what populations measure.
        command = [sys.executable, "small_networks.py", "search", str(space), *options]
        command += ["--store", str(store), "--study", "s", "--optimizer", "tpe"]
        command += ["--concurrency", str(concurrency), "--json"]
        self.log = store.with_name("log.txt")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=log
            )

    def wait(self) -> None:
        code = self.process.wait(300)
        assert code == 0, self.log.read_text()

    def kill(self) -> None:
        assert self.process.poll() is None, "it ended before it could be killed"
        self.process.kill()
        self.process.wait()


def ray_processes(driver: int) -> list[str]:
    """Processes of the private cluster that the process `driver` started."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"-{driver}-" in " ".join(process.cmdline()) and process.status() != "zombie":
                found.append(str(process))
        except psutil.Error:
            continue
    return found


def ended(store: Path) -> dict[int, Trial]:
    trials = ExperienceStore(store).trials()
    return {trial.number: trial for trial in trials if trial.state.finished}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("concurrency", "kills"),
    [(1, 2), *(pytest.param(slots, 5, marks=pytest.mark.slow) for slots in (1, 2))],
)
def test_killed_again_and_again_no_trial_is_lost_or_repeated(
    tmp_path: Path, concurrency: int, kills: int
) -> None:
    space, store = tmp_path / "space.toml", tmp_path / "killed"
    space.write_text(SPACE)
    rng = random.Random(0)
    drivers, seen = [], dict[int, Trial]()
    for kill in range(kills):
        driver = Driver(store, space, concurrency, CLASS)
        drivers.append(driver.process.pid)
        goal = len(ended(store)) + rng.randint(1, 6)
        end = time.monotonic() + 60
        while len(ended(store)) < goal and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(rng.uniform(0, 0.3))
        driver.kill()
        now = ended(store)
        assert len(now) >= goal, f"no progress before kill {kill}"
        assert {number: now[number] for number in seen} == seen, "a finished trial changed"
        seen = now
    Driver(store, space, concurrency, CLASS).wait()
    final = ended(store)
    assert {number: final[number] for number in seen} == seen
    assert sorted(final) == list(range(TRIALS))
    assert len(ExperienceStore(store).trials()) == TRIALS
    assert sorted(t.finished_index or 0 for t in final.values()) == list(range(TRIALS))
    assert any(trial.state is TrialState.PRUNED for trial in final.values())
    end = time.monotonic() + 20
    while any(ray_processes(pid) for pid in drivers) and time.monotonic() < end:
        time.sleep(0.2)
    assert [ray_processes(pid) for pid in drivers] == [[]] * kills
    if concurrency == 1:
        Driver(tmp_path / "undisturbed", space, 1, CLASS).wait()
        assert outcomes(store) == outcomes(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kills", [2, 5])
def test_killed_with_populations_the_search_is_the_same(tmp_path: Path, kills: int) -> None:
    space, store = tmp_path / "space.toml", tmp_path / "killed"
    space.write_text(SMALL.to_toml())
    rng = random.Random(0)
    seen: dict[int, Trial] = {}
    for kill in range(kills):
        driver = Driver(store, space, 1, POPULATIONS)
        goal, end = len(seen) + 1, time.monotonic() + 60
        while len(ended(store)) < goal and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        driver.kill()
        now = ended(store)
        assert len(now) >= goal, f"no progress before kill {kill}"
        assert {number: now[number] for number in seen} == seen, "a finished trial changed"
        seen = now
    Driver(store, space, 1, POPULATIONS).wait()
    final = ended(store)
    assert sorted(final) == list(range(MEMBERS))
    assert sorted(t.finished_index or 0 for t in final.values()) == list(range(MEMBERS))
    Driver(tmp_path / "undisturbed", space, 1, POPULATIONS).wait()
    assert outcomes(store) == outcomes(tmp_path / "undisturbed")
    assert ExperienceStore(store).verify() == []
