"""Every test runs in a home of its own and, where the system allows it, without a network."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1


def _leave_network() -> str:
    """Put this process and its children where there is nothing but loopback: Ray's servers listen
    on every address, and nothing here may reach out."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET | (0 if uid == 0 else CLONE_NEWUSER)) != 0:
        return f"the host's ({os.strerror(ctypes.get_errno())})"
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    return "loopback only"


# How long a busy machine takes says nothing about the code.
hypothesis.settings.register_profile(
    "metatune", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("metatune")
pytest_plugins = ["stores"]
NETWORK = _leave_network()
HOME = tempfile.TemporaryDirectory(prefix="metatune-test-home-")
os.environ.update(HOME=HOME.name, RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")
# A console made at import would keep the caller's size, whatever a test sets later.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)
# Ray's workers import the trainables of the tests by name, as the tests do.
_PATH = [str(Path(__file__).parent / "orchestration"), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _PATH))


def pytest_report_header() -> str:
    return f"network: {NETWORK}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A private Ray cluster that searches in this process use."""
    from metatune.orchestration.cluster import connected

    with connected():
        yield
