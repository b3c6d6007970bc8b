"""A cluster with a token: who has it gets in, and it is written down nowhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from metatune import ExperienceStore
from metatune.orchestration.jobs import Jobs, read_token

pytestmark = pytest.mark.slow
METATUNE = [sys.executable, "-m", "metatune"]
SEARCH = ["mlp", "--task", "iris", "--trials", "2", "--epochs", "2", "--shared-store"]
OPTIONS = ["--ram", "50MB", "--cost-budget", "1h", "--label", "zone=!a", "--max-failures", "1"]


@pytest.fixture(scope="module")
def cluster_of_three() -> Iterator[dict[str, str]]:
    """The addresses of three nodes that `metatune cluster up` runs, and where their files are."""
    command = [*METATUNE, "cluster", "up", "--local", "3", "--json"]
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as place,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": place}
        ) as up,
    ):
        assert up.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(up.stdout.readline())
            assert lines[-1], "the cluster did not start"
        yield {**json.loads("".join(lines)), "place": place}
        up.send_signal(signal.SIGTERM)
        up.wait(30)


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*METATUNE, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=100,
        check=False,
    )


def test_a_driver_elsewhere_gets_in_with_the_token(
    cluster_of_three: dict[str, str], tmp_path: Path
) -> None:
    where = ["--store", tmp_path, "--address", cluster_of_three["address"]]
    found = run("search", *SEARCH, *OPTIONS, *where)
    assert found.returncode == 0, found.stderr
    trials = ExperienceStore(tmp_path).trials()
    assert [trial.state.finished for trial in trials] == [True, True]


def test_a_driver_with_another_token_or_none_is_told_so(
    cluster_of_three: dict[str, str], tmp_path: Path
) -> None:
    where = ["--store", tmp_path / "store", "--address", cluster_of_three["address"]]
    for said, environment in (
        ("the cluster refuses the token", {"RAY_AUTH_TOKEN": "wrong"}),
        ("demands a token, and there is none", {"HOME": str(tmp_path)}),
    ):
        refused = run("search", *SEARCH, *where, **environment)
        assert refused.returncode == 2
        assert said in refused.stderr
        # Where there is no network at all, Ray has a line of its own to say about that.
        lines = [line for line in refused.stderr.splitlines() if "network_util" not in line]
        assert len(lines) == 1, refused.stderr
        assert refused.stdout == ""
        assert ExperienceStore(tmp_path / "store").studies() == []


def test_the_token_is_on_no_command_line_and_in_no_log(
    cluster_of_three: dict[str, str], tmp_path: Path
) -> None:
    token = read_token()
    assert token is not None
    (tmp_path / "code").mkdir()
    where = ["--address", cluster_of_three["jobs"], "--folder", tmp_path / "code"]
    store = ["--store", tmp_path / "store"]
    submitted = run("submit", *SEARCH, *OPTIONS, *store, *where, "--json")
    assert submitted.returncode == 0, submitted.stderr
    client, job = Jobs(cluster_of_three["jobs"]), json.loads(submitted.stdout)["job"]
    lines: set[str] = set()
    deadline = time.monotonic() + 90.0
    while not client.job(job).is_over:
        assert time.monotonic() < deadline, client.logs(job)
        lines |= {" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])}
        time.sleep(0.2)
    assert client.job(job).status == "SUCCEEDED", client.logs(job)
    assert any(" search mlp " in line for line in lines)
    assert client.job(job).arguments[-2:] == ("--address", "auto")
    assert set(OPTIONS) <= set(client.job(job).arguments)
    said = [str(client._client.list_jobs()), client.logs(job), submitted.stdout, submitted.stderr]
    assert not any(token in text for text in [*lines, *said])
    written = [p for p in Path(cluster_of_three["place"]).rglob("*") if p.is_file()]
    assert any(path.suffix == ".log" for path in written)
    assert not [path for path in written if token.encode() in path.read_bytes()]
