"""CPU seconds of this process and of everything it has started."""

from __future__ import annotations

import os
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from types import TracebackType

import psutil

# How often processes are looked at: what one spends after the last look is not counted.
_PERIOD = 0.05


class CpuMeter:
    """Counts CPU seconds of this process and its descendants, also of those that have ended.

    Another process looks at them, and is not counted. A context manager.
    """

    def __enter__(self) -> CpuMeter:
        self._connection, other = Pipe()
        arguments = (os.getpid(), other)
        self._watcher = get_context("spawn").Process(target=_watch, args=arguments, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._watcher.terminate()
        self._watcher.join()

    def seconds(self) -> float:
        """CPU seconds so far."""
        self._connection.send(None)
        seconds: float = self._connection.recv()
        return seconds


def _watch(root: int, connection: Connection) -> None:
    spent: dict[tuple[int, float], float] = {}
    while True:
        asked = connection.poll(_PERIOD)
        for process in _family(root):
            try:
                times = process.cpu_times()
                spent[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:  # it has ended meanwhile
                continue
        if asked:
            connection.recv()
            connection.send(sum(spent.values()))


def _family(root: int) -> list[psutil.Process]:
    process = psutil.Process(root)
    return [process, *(p for p in process.children(recursive=True) if p.pid != os.getpid())]
