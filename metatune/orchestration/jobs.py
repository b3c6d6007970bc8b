"""Searches as jobs on a Ray cluster, over its Jobs API."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import shlex
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from metatune.errors import InputError, JobError

# Never sent along: versions, environments, and what can be made again.
_EXCLUDED = (".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", "*.pyc")
_POLL_SECONDS = 0.5
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Job:
    """A search on a cluster. `status` is PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED; times are
    in seconds since 1970, None before the event; `arguments` are those of `metatune search`;
    `message` is the last line that tells how it stands."""

    id: str
    status: str
    message: str
    started: float | None
    ended: float | None
    arguments: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


def read_token() -> str | None:
    """The token that Ray's clients use: RAY_AUTH_TOKEN, the file in RAY_AUTH_TOKEN_PATH, or
    ~/.ray/auth_token; None without any.

    Raises InputError for a file that cannot be read, or that others than its owner can.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        if path.stat().st_mode & _READABLE_BY_OTHERS:
            raise InputError(f"token file {path}: others can read it; chmod 600 {path}")
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        if named is None and isinstance(error, FileNotFoundError):
            return None
        raise InputError(f"token file {path}: cannot be read: {error.strerror}") from None


def check_address(address: str, insecure: bool) -> None:
    """Raise InputError unless `address` is one of the Jobs API that a token may be sent to: https,
    or http on this machine; with `insecure` any http."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InputError(
            f"address {address!r}: must look like https://host:port, or http://127.0.0.1:8265 for "
            f"a tunnel to the head node"
        )
    if parts.scheme == "http" and not insecure and not _is_loopback(parts.hostname):
        raise InputError(
            f"address {address!r}: over http anybody on the way can read the token and the code; "
            f"use https, a tunnel to 127.0.0.1, or --insecure"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Jobs:
    """The searches on the cluster whose Jobs API is at `address`.

    Raises InputError for an address that a token must not be sent to (see `check_address`), where
    there is no token, unless `insecure`, and where the cluster refuses it; JobError where the
    cluster cannot be reached or fails.
    """

    def __init__(self, address: str, insecure: bool = False) -> None:
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray.dashboard").setLevel(logging.ERROR)
        logging.getLogger("ray._private.runtime_env").setLevel(logging.ERROR)
        check_address(address, insecure)
        token = read_token()
        if token is None and not insecure:
            raise InputError(
                "no token: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or put it into "
                "~/.ray/auth_token; --insecure goes without one"
            )
        self._address = address
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with self._said_plainly():
            self._client: Any = JobSubmissionClient(address, headers=dict(self._headers))

    def submit(self, arguments: Sequence[str], folder: Path) -> str:
        """Start `metatune search` with these arguments on the cluster; the id of the job.

        The files in `folder` are sent along, without those in its .gitignore, and are the search's
        working directory. The job goes on whatever becomes of this process.
        """
        command = shlex.join(["python", "-m", "metatune", "search", *arguments])
        with self._said_plainly():
            job = self._client.submit_job(
                entrypoint=command,
                submission_id=f"metatune-{secrets.token_hex(4)}",
                runtime_env={"working_dir": str(folder), "excludes": list(_EXCLUDED)},
                metadata={"metatune": shlex.join(arguments)},
            )
        return str(job)

    def run(self, arguments: Sequence[str], seconds: float) -> str:
        """What `metatune` prints on the cluster when given these arguments, if it ends in time;
        raises JobError if not."""
        deadline = time.monotonic() + seconds
        with self._said_plainly():
            job = self._client.submit_job(
                entrypoint=shlex.join(["python", "-m", "metatune", *arguments])
            )
            while not self._client.get_job_status(job).is_terminal():
                if time.monotonic() > deadline:
                    self._client.stop_job(job)
                    raise JobError(f"{self._address}: no answer within {seconds:.0f} s")
                time.sleep(_POLL_SECONDS)
            return str(self._client.get_job_logs(job))

    def all(self) -> list[Job]:
        """Every search that was submitted here, the latest first."""
        with self._said_plainly():
            found = self._client.list_jobs()
        jobs = [_job(details) for details in found if "metatune" in (details.metadata or {})]
        return sorted(jobs, key=lambda job: job.started or 0.0, reverse=True)

    def job(self, name: str) -> Job:
        """The search with that id; raises InputError naming those there are."""
        jobs = self.all()
        for job in jobs:
            if job.id == name:
                return job
        known = [job.id for job in jobs[:5]]
        raise InputError(f"job {name!r} is unknown at {self._address}; there are {known}")

    def logs(self, name: str) -> str:
        """What a search has printed so far."""
        with self._said_plainly():
            return str(self._client.get_job_logs(name))

    def follow(self, name: str, show: Callable[[str], None]) -> None:
        """Show what a search prints until it ends."""

        async def follow() -> None:
            async for text in self._client.tail_job_logs(name):
                show(text)

        with self._said_plainly():
            asyncio.run(follow())

    def stop(self, name: str) -> bool:
        """Ask a search to end; False if it had ended before. What it recorded stays, and submitted
        again it goes on."""
        with self._said_plainly():
            return bool(self._client.stop_job(name))

    @contextmanager
    def _said_plainly(self) -> Iterator[None]:
        """Errors of Ray's client as ours, in one line."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            lines = str(error).strip().splitlines()
            raise InputError(f"{self._address}: {lines[0] if lines else 'no access'}") from None
        except ConnectionError as error:
            raise JobError(f"{self._address}: cannot be reached: {error}") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise JobError(f"{self._address}: {' '.join(str(error).split())[:500]}") from None


def _job(details: Any) -> Job:
    lines = (details.message or "").strip().splitlines()  # of a failure, all that it printed
    return Job(
        id=details.submission_id,
        status=str(details.status.value),
        message=lines[-1] if lines else "",
        started=None if details.start_time is None else details.start_time / 1000,
        ended=None if details.end_time is None else details.end_time / 1000,
        arguments=tuple(shlex.split(details.metadata["metatune"])),
    )
