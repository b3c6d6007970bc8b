"""The head of the cluster goes away, or only for a moment."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from metatune.errors import JobError
from metatune.orchestration import watch
from metatune.orchestration.watch import ClusterWatch

STUCK = """
import sys, time
from metatune.orchestration import watch
watch.GONE_SECONDS = watch.END_SECONDS = watch._BEAT_SECONDS = 0.1
watch.ClusterWatch._head = lambda self: "127.0.0.1:{port}"
with watch.ClusterWatch():
    time.sleep(60)
"""


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """What listens where the watch looks for the head of the cluster."""
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = listening.getsockname()
    monkeypatch.setattr(ClusterWatch, "_head", lambda self: f"{host}:{port}")
    monkeypatch.setattr(watch, "_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(watch, "GONE_SECONDS", 0.5)
    return listening


def step(watching: ClusterWatch) -> None:
    watching.on_step_begin(0, [])


def test_a_head_that_answers_again_in_time_is_not_gone(
    head: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "GONE_SECONDS", 5.0)
    address = head.getsockname()
    with ClusterWatch() as watching:
        time.sleep(0.2)
        head.close()
        time.sleep(0.5)
        step(watching)
        with socket.create_server(address):
            time.sleep(0.3)
            step(watching)


def test_a_head_that_is_gone_ends_the_search_in_one_line(
    head: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[Any] = []
    monkeypatch.setattr("ray.shutdown", lambda: left.append(True))

    def search() -> None:
        with ClusterWatch() as watching:
            head.close()
            end = time.monotonic() + 10
            while time.monotonic() < end:
                time.sleep(0.05)
                step(watching)

    with pytest.raises(JobError, match=r"is gone: no answer for .* the same command") as caught:
        search()
    assert "\n" not in str(caught.value)
    assert left == [True]


def test_a_search_that_hangs_in_a_call_to_it_is_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", STUCK.format(port=port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 1
    assert done.stderr.startswith("metatune: the Ray cluster at 127.0.0.1")
    assert len(done.stderr.splitlines()) == 1
