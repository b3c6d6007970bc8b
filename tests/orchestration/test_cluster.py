"""Connecting to a cluster that is not there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
import ray

from metatune.errors import InputError
from metatune.orchestration.cluster import connected, own_folder


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has no connection yet."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.parametrize("address", ["nonsense", "host:port", "http://here", "", "127.0.0.1:1"])
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


def test_folders_of_the_dead_are_removed_and_those_of_the_living_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        lives = (
            "import time\nfrom metatune.orchestration.cluster import own_folder\n"
            "with own_folder() as folder:\n    print(folder, flush=True)\n    time.sleep(60)"
        )
        folders = []
        with ExitStack() as stack:
            for kills in (True, False):
                command = [sys.executable, "-c", lives]
                process = stack.enter_context(
                    subprocess.Popen(
                        command,
                        stdout=subprocess.PIPE,
                        text=True,
                        env={**os.environ, "TMPDIR": place},
                    )
                )
                stack.callback(process.kill)
                folders.append(Path((process.stdout or io.StringIO()).readline().strip()))
                os.utime(folders[-1], (0, 0))
                if kills:
                    process.kill()
                    process.wait()
            dead, living = folders
            with own_folder() as own:
                assert (dead.exists(), living.exists(), own.exists()) == (False, True, True)
                assert own.stat().st_mode & 0o777 == 0o700
        assert not own.exists()


def test_a_place_whose_path_is_too_long_for_sockets_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with own_folder() as folder:
        assert str(folder).startswith("/tmp/metatune-")
