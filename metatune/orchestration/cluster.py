"""The Ray cluster that a search runs on: one already there, or a private one on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._common.network_utils import parse_address
from ray._private.services import canonicalize_bootstrap_address

from metatune.errors import InputError
from metatune.orchestration.access import demands_token, read_environment_again

_CONNECT_SECONDS = 10.0
_PREFIX = f"metatune-{os.getuid()}-"
# The longest path in which what Ray adds for its sockets is not too long for the system.
_LONGEST = 19
# A folder may be so old before the process that made it has locked it.
_NEW_SECONDS = 5.0


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to the cluster at `address`, to the one this process already uses, or to a
    private one on this machine that ends with the block.

    The private one keeps its files in a folder of its own that only this user can enter, lets
    nobody in without the user's token, sends no usage statistics and dies with this process, also
    when it is killed. Raises InputError where no cluster answers at `address`, where that demands
    a token and there is none or a wrong one, or where the token of a private one cannot be
    written.
    """
    if ray.is_initialized():
        yield
    elif address is not None:
        with _connection(address):
            yield
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


@contextlib.contextmanager
def _connection(address: str) -> Iterator[None]:
    variables = {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        if "://" not in address:  # Ray itself would try for minutes
            found = parse_address(canonicalize_bootstrap_address(address) or "")
            if found is not None:
                socket.create_connection(found, timeout=_CONNECT_SECONDS).close()
                variables |= {"RAY_AUTH_MODE": "token"} if demands_token(*found) else {}
        with environment(**variables):
            read_environment_again()
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"address {address!r}: no Ray cluster can be used: {error}") from None
    try:
        with environment(**variables):
            yield
    finally:
        ray.shutdown()
        read_environment_again()


@contextlib.contextmanager
def _private_cluster() -> Iterator[None]:
    ensure_token()
    with own_folder() as folder, environment(RAY_USAGE_STATS_ENABLED="0"):
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


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A new folder that only this user can enter, removed after the block; those of processes that
    were killed before they could are removed now.

    Each process holds a lock on its own, which the system releases however the process ends, and
    also in another container it is seen.
    """
    place = tempfile.gettempdir()
    place = place if len(place) <= _LONGEST else "/tmp"
    for folder in Path(place).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _locked(folder):
            if time.time() - folder.stat().st_mtime > _NEW_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    with _locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises BlockingIOError where another process has locked the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


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
