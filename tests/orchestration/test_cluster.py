"""Connecting to a cluster that is not there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import ray

from metatune.errors import InputError
from metatune.orchestration.cluster import connected


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has no connection yet."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "address", ["nonsense", "host:port", "http://here", "", f"127.0.0.1:{free_port()}"]
)
def test_an_address_without_a_cluster_is_refused(address: str) -> None:
    with (
        pytest.raises(InputError, match=f"^address '{address}': no Ray cluster"),
        connected(address),
    ):
        pass


def test_a_home_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file/\.ray/auth_token: cannot be written"), connected():
        pass
