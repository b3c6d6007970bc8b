"""What a search depends on goes away: the head of the cluster, the store, room on its disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import METATUNE, chaos_cluster
from flaky_s3 import FlakyS3

from metatune import ExperienceStore, Trial
from metatune.experience.patience import VARIABLE
from metatune.orchestration.watch import END_SECONDS, GONE_SECONDS

HERE = Path(__file__).parent
SPACE = """
[x]
type = "float"
low = 0.0
high = 1.0
[seconds]
type = "categorical"
choices = [{seconds}]
"""


def options(tmp_path: Path, count: int, seconds: float) -> list[str]:
    space = tmp_path / "space.toml"
    space.write_text(SPACE.format(seconds=seconds))
    given = [str(space), "--task", "toy", "--trainable", "trainables:Class", "--study", "s"]
    given += ["--trials", str(count), "--max-steps", "6", "--optimizer", "tpe"]
    return [*given, "--concurrency", "1", "--json"]


def ended(store: str) -> list[Trial]:
    return [trial for trial in ExperienceStore(store).trials() if trial.state.finished]


def outcomes(trials: list[Trial]) -> list[tuple[object, ...]]:
    """What does not depend on the clock."""
    return [(t.number, t.config, t.seed, t.state, t.value, t.finished_index) for t in trials]


class Search:
    """`metatune search` in a process of its own; what it says is in `said`."""

    def __init__(self, arguments: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            [*METATUNE, "search", *arguments],
            cwd=HERE,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def await_ended(self, store: str, count: int, seconds: float = 90.0) -> None:
        """Return when so many trials have ended."""
        end = time.monotonic() + seconds
        while len(ended(store)) < count:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end
            time.sleep(0.2)

    def wait(self, seconds: float = 150.0) -> int:
        """Its exit code."""
        self._said = self.process.communicate(timeout=seconds)[1]
        return self.process.returncode

    def said(self) -> list[str]:
        """The lines of metatune's own on stderr."""
        lines = self._said.splitlines()
        assert "Traceback (most recent call last):" not in lines, self._said
        return [line for line in lines if line.startswith(("metatune:", "warning:"))]


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_a_search_whose_head_is_killed_ends_in_one_line_and_goes_on_elsewhere(
    tmp_path: Path,
) -> None:
    store = str(tmp_path / "store")
    given = [*options(tmp_path, 12, 0.2), "--store", store, "--shared-store"]
    with chaos_cluster(tmp_path / "first") as cluster:
        search = Search([*given, "--address", cluster.address], **cluster.environment)
        search.await_ended(store, 2)
        for process in cluster.named("gcs_server"):
            process.kill()
        for process in cluster.named("raylet"):
            if process not in cluster.nodes():
                process.kill()
        began = time.monotonic()
        assert search.wait() == 1
        took = time.monotonic() - began
        print(f"ended after {took:.0f} s")
    assert took < GONE_SECONDS + END_SECONDS + 10
    (line,) = search.said()
    assert "is gone: no answer for 20 s; what was recorded stands, and the same command" in line
    before = ended(store)
    with chaos_cluster(tmp_path / "second") as cluster:
        again = Search([*given, "--address", cluster.address], **cluster.environment)
        assert again.wait() == 0, again.said()
    after = ended(store)
    assert after[: len(before)] == before
    assert [trial.number for trial in after] == list(range(12))


@pytest.fixture
def flaky(s3_options: str) -> Iterator[FlakyS3]:
    with FlakyS3(int(s3_options.rpartition(":")[2]), seed=1) as proxy:
        yield proxy


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("outage", [25.0, 60.0])
def test_a_search_waits_for_a_store_that_does_not_answer(
    flaky: FlakyS3, s3_uri: str, tmp_path: Path, outage: float
) -> None:
    store = f"{s3_uri.rpartition(':')[0]}:{flaky.port}"
    search = Search([*options(tmp_path, 12, 0.2), "--store", store])
    search.await_ended(store, 2)
    flaky.is_down = True
    time.sleep(outage)
    flaky.is_down = False
    assert search.wait() == 0
    (line,) = search.said()
    assert "does not answer (NETWORK_CONNECTION): waiting up to 300 s" in line
    trials = ended(store)
    assert [trial.number for trial in trials] == list(range(12))
    assert {str(trial.state) for trial in trials} <= {"COMPLETE", "PRUNED"}
    undisturbed = str(tmp_path / "undisturbed")
    assert Search([*options(tmp_path, 12, 0.0), "--store", undisturbed]).wait() == 0
    assert [t.value for t in trials] == [t.value for t in ended(undisturbed)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_ends_where_the_store_stays_away_and_goes_on_later(
    flaky: FlakyS3, s3_uri: str, tmp_path: Path
) -> None:
    store = f"{s3_uri.rpartition(':')[0]}:{flaky.port}"
    given = [*options(tmp_path, 12, 0.2), "--store", store]
    search = Search(given, **{VARIABLE: "10"})
    search.await_ended(store, 2)
    before = ended(store)
    flaky.is_down = True
    assert search.wait() == 1
    flaky.is_down = False
    waits, line = search.said()
    assert "waiting up to 10 s" in waits
    assert "give the same command again when it does, and nothing recorded is lost" in line
    assert Search(given).wait() == 0
    after = ended(store)
    assert after[: len(before)] == before
    assert [trial.number for trial in after] == list(range(12))


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("kilobytes", ["300", "500"])
def test_a_full_disk_ends_a_search_that_goes_on_when_there_is_room(
    tmp_path: Path, kilobytes: str
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    given = options(tmp_path, 40, 0.01)
    command = [sys.executable, str(HERE / "full_disk.py"), str(folder), kilobytes, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)
    if "cannot mount" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    code, said = shown["full"]
    assert code == 1, said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("metatune:")]
    assert "No space left on device" in line
    assert "free some space there and give the same command again" in line
    assert str(folder) in line
    assert shown["before"]
    assert shown["damage"] == shown["temporary"] == []
    assert shown["again"][0] == 0, shown["again"][1]
    undisturbed = str(tmp_path / "undisturbed")
    assert Search([*given, "--store", undisturbed]).wait() == 0
    whole = [[t.number, t.config, str(t.state), t.value] for t in ended(undisturbed)]
    assert shown["trials"] == whole
