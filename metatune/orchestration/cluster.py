"""The Ray cluster that a search runs on: one already there, or a private one on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import ray
from ray._common.network_utils import parse_address
from ray._private.services import canonicalize_bootstrap_address

from metatune.errors import InputError

_CONNECT_SECONDS = 10.0
PREFIX = f"metatune-{os.getuid()}-"


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to the cluster at `address`, to the one this process already uses, or to a
    private one on this machine that ends with the block.

    The private one keeps its files in a folder of its own that only this user can enter, lets
    nobody in without the user's token, sends no usage statistics and dies with this process, also
    when it is killed. Raises InputError where no cluster answers at `address`, or the token cannot
    be written.
    """
    if ray.is_initialized():
        yield
    elif address is not None:
        with environment(RAY_USAGE_STATS_ENABLED="0"):
            _connect(address)
            try:
                yield
            finally:
                ray.shutdown()
    else:
        with _private_cluster():
            yield


def check_store(uri: str, is_shared: bool) -> None:
    """Raise InputError if the connected cluster has nodes that do not reach the store."""
    nodes = sum(node["Alive"] for node in ray.nodes())
    if nodes > 1 and not is_shared:
        raise InputError(
            f"store {uri!r} is a folder of this machine, and the cluster has {nodes} nodes: give "
            f"an s3:// address, or --shared-store (shared_store=True) if all of them have that "
            f"folder in common"
        )


def _connect(address: str) -> None:
    try:
        if "://" not in address:  # Ray itself would try for minutes
            found = parse_address(canonicalize_bootstrap_address(address) or "")
            if found is not None:
                socket.create_connection(found, timeout=_CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"address {address!r}: no Ray cluster can be used: {error}") from None


@contextlib.contextmanager
def _private_cluster() -> Iterator[None]:
    remove_left_over_folders()
    ensure_token()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
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


def ensure_token() -> None:
    """A token that only this user can read, where Ray looks for it: Ray itself would make one
    that everybody on the machine can read."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    token = Path.home() / ".ray" / "auth_token"
    try:
        token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not token.exists():
            descriptor, name = tempfile.mkstemp(dir=token.parent)  # mode 0600
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
            Path(name).replace(token)
        token.chmod(0o600)
    except OSError as error:
        raise InputError(
            f"{token}: cannot be written: {error.strerror}; name a file that can be read in "
            f"RAY_AUTH_TOKEN_PATH, or set HOME to a folder of yours"
        ) from None


def remove_left_over_folders() -> None:
    """Remove the folders of clusters whose driver was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).split("-")[0]
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
