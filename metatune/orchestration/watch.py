"""Noticing that the cluster is gone, and ending the search in time."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from typing import Any

import ray
from ray._common.network_utils import parse_address
from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial

from metatune.errors import JobError

# Without an answer from the cluster's control service for so long it counts as gone: long enough
# for one that is started again. Ray itself ends the process after 60 seconds, whatever it holds.
GONE_SECONDS = 20.0
# How long the search has to end by itself then: calls to a cluster that is gone may never return.
END_SECONDS = 20.0
_BEAT_SECONDS = 2.0


class ClusterWatch(Callback):
    """Raises JobError in the search when the head of the cluster has been gone for `GONE_SECONDS`.

    A context manager around the search, and one of its callbacks. Where Ray still waits for the
    cluster after another `END_SECONDS`, the process ends with the same line and exit code 1.
    """

    def __init__(self) -> None:
        self._address = ""
        self._problem: str | None = None
        self._over = threading.Event()

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Ray Tune writes all it is given into a snapshot, which is never read."""
        return {}

    def __enter__(self) -> ClusterWatch:
        self._address = self._head()
        threading.Thread(target=self._watch, name="metatune-watch", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._problem is not None:
            ray.shutdown()  # or Ray would end this process later
        self._over.set()

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Raise JobError where the cluster is gone."""
        if self._problem is not None:
            raise JobError(self._problem)

    def _head(self) -> str:
        return str(ray.get_runtime_context().gcs_address)

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._over.wait(_BEAT_SECONDS):
            if self._answers():
                answered = time.monotonic()
            elif time.monotonic() - answered > GONE_SECONDS:
                break
        else:
            return
        self._problem = (
            f"the Ray cluster at {self._address} is gone: no answer for {GONE_SECONDS:.0f} s; what "
            f"was recorded stands, and the same command on another cluster goes on from there"
        )
        if not self._over.wait(END_SECONDS):
            sys.stderr.write(f"metatune: {self._problem}\n")
            sys.stderr.flush()
            os._exit(JobError.exit_code)

    def _answers(self) -> bool:
        try:
            socket.create_connection(parse_address(self._address), _BEAT_SECONDS).close()
        except OSError:
            return False
        return True
