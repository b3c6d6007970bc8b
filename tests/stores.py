"""A store to test, in a folder and on a real S3-protocol server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pyarrow import fs

BUCKET = "experience"


@pytest.fixture(scope="session")
def s3_options() -> Iterator[str]:
    """The options of addresses of a running server that has the bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await_port(port)
            options = f"region=us-east-1&scheme=http&endpoint_override=127.0.0.1:{port}"
            address = f"s3://{BUCKET}?{options}&allow_bucket_creation=true"
            fs.FileSystem.from_uri(address)[0].create_dir(BUCKET)
            yield options
        finally:
            server.kill()
            server.wait()


def _await_port(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.05)


@pytest.fixture
def s3_uri(s3_options: str) -> str:
    """The address of a store on S3 that does not exist yet."""
    return f"s3://{BUCKET}/{uuid4().hex}/store?{s3_options}"


@pytest.fixture(params=["local", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that does not exist yet, in a folder and on S3."""
    if request.param == "local":
        return str(tmp_path / "store")
    return str(request.getfixturevalue("s3_uri"))
