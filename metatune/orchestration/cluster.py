"""The Ray cluster that a search runs on: one already there, or a private one on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import ray

_PREFIX = f"metatune-{os.getuid()}-"


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to the cluster at `address`, to the one this process already uses, or to a
    private one on this machine that ends with the block.

    The private one keeps its files in a folder of its own that only this user can enter, lets
    nobody in without the user's token, sends no usage statistics and dies with this process, also
    when it is killed.
    """
    if ray.is_initialized():
        yield
    elif address is not None:
        with environment(RAY_USAGE_STATS_ENABLED="0"):
            ray.init(address=address, log_to_driver=False)
            try:
                yield
            finally:
                ray.shutdown()
    else:
        with _private_cluster():
            yield


@contextlib.contextmanager
def _private_cluster() -> Iterator[None]:
    _remove_left_over_folders()
    _ensure_token()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    with environment(RAY_USAGE_STATS_ENABLED="0"):
        try:
            ray.init(
                address="local",  # whatever RAY_ADDRESS says
                num_cpus=os.cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                _temp_dir=str(folder / "ray"),
                _node_ip_address="127.0.0.1",
            )
            yield
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def _ensure_token() -> None:
    """A token that only this user can read, where Ray looks for it: Ray itself would make one
    that everybody on the machine can read."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    token = Path.home() / ".ray" / "auth_token"
    token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not token.exists():
        descriptor, name = tempfile.mkstemp(dir=token.parent)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        Path(name).replace(token)
    token.chmod(0o600)


def _remove_left_over_folders() -> None:
    """Remove the folders of clusters whose driver was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables set for the block and put back after it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
