"""Searches on a cluster over its Jobs API: a real one of three nodes, with a token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from metatune.errors import InputError, JobError
from metatune.experience.store import ExperienceStore
from metatune.orchestration.jobs import Jobs, check_address, read_token

METATUNE = [sys.executable, "-m", "metatune"]
SEARCH = ["mlp", "--task", "iris", "--trials", "4", "--epochs", "2", "--shared-store"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The Jobs API of three nodes that `metatune cluster up` runs."""
    command = [*METATUNE, "cluster", "up", "--local", "3", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(up.stdout.readline())
            assert lines[-1], "the cluster did not start"
        yield json.loads("".join(lines))["jobs"]
        nodes = psutil.Process(up.pid).children(recursive=True)
        assert len(nodes) >= 3
        up.send_signal(signal.SIGTERM)
        up.wait(30)
    _, alive = psutil.wait_procs(nodes, timeout=20)
    assert not alive


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*METATUNE, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=100,
        check=False,
    )


@pytest.mark.slow
def test_a_submitted_search_ends_whatever_becomes_of_who_submitted_it(
    address: str, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    code = tmp_path / "code"
    code.mkdir()
    options = ["--folder", str(code), "--address", address]
    submitted = run("submit", *SEARCH, "--store", store, *options, "--json")
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(submitted.stdout)
    assert job["study"] == "mlp-iris-0"
    with subprocess.Popen(
        [*METATUNE, "logs", job["job"], "--follow", "--address", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline()
        follower.kill()
    client = Jobs(address)
    deadline = time.monotonic() + 90.0
    while not client.job(job["job"]).is_over:
        assert time.monotonic() < deadline, client.logs(job["job"])
        time.sleep(0.5)
    assert client.job(job["job"]).status == "SUCCEEDED", client.logs(job["job"])
    trials = ExperienceStore(store).trials(study="mlp-iris-0")
    assert len(trials) == 4
    assert all(trial.state.finished for trial in trials)
    assert str(read_token()) not in client.logs(job["job"])
    there = run("results", job["job"], "--address", address, "--json")
    here = run("results", "mlp-iris-0", "--store", store, "--json")
    assert json.loads(there.stdout) == json.loads(here.stdout)
    assert json.loads(here.stdout)["best"]["config"]["network"] == "mlp"
    assert not client.stop(job["job"])


@pytest.mark.slow
def test_a_folder_that_nodes_do_not_share_is_refused(address: str, tmp_path: Path) -> None:
    client = Jobs(address)
    search = [*SEARCH[:-1], "--store", str(tmp_path), "--address", "auto"]
    job = client.submit(search, tmp_path)
    while not client.job(job).is_over:
        time.sleep(0.5)
    assert client.job(job).status == "FAILED"
    assert "is a folder of this machine, and the cluster has 3 nodes" in client.job(job).message


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", "wrong"])
def test_without_the_token_nothing_can_be_submitted(
    address: str, token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    if not token:
        monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"Unauthorized|Forbidden"):
        Jobs(address, insecure=True).submit(SEARCH, tmp_path)
    refused = run("status", "--address", address)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1


def test_tokens_go_over_https_or_stay_on_this_machine() -> None:
    for address in ("https://ray.example.org", "http://127.0.0.1:8265", "http://localhost:1"):
        check_address(address, insecure=False)
    check_address("http://10.0.0.1:8265", insecure=True)
    for address in ("http://10.0.0.1:8265", "http://ray.example.org", "http://127.0.0.1.evil.org"):
        with pytest.raises(InputError, match="over http anybody on the way can read the token"):
            check_address(address, insecure=False)
    for address in ("auto", "ray://127.0.0.1:1", "https://user:password@host", "127.0.0.1:8265"):
        with pytest.raises(InputError, match="must look like https://host:port"):
            check_address(address, insecure=True)


def test_a_token_that_others_can_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_token() is None
    with pytest.raises(InputError, match="no token: set RAY_AUTH_TOKEN"):
        Jobs("http://127.0.0.1:1")
    token = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with pytest.raises(InputError, match="token: cannot be read"):
        read_token()
    token.write_text("secret\n")
    token.chmod(0o644)
    with pytest.raises(InputError, match="others can read it; chmod 600"):
        read_token()
    token.chmod(0o600)
    assert read_token() == "secret"
    with pytest.raises(JobError, match="cannot be reached"):
        Jobs("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mlp", "--task", "iris"], "--store: say one that the cluster reaches"),
        (["mlp", "--task", "iris", "--store", "s3://b", "--sped", "1"], "No such option"),
        (["mlp", "--store", "s3://b"], "Missing option"),
        (["mlp", "--task", "i", "--store", "s3://b", "--folder", "/nowhere"], "is no folder"),
    ],
)
def test_what_is_no_search_is_not_submitted(arguments: list[str], said: str) -> None:
    refused = run("submit", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
