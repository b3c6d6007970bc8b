"""Holders of leases: which process it is, and whether it still runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import getnode

import psutil

from metatune.errors import DamagedFileError


@dataclass(frozen=True)
class Holder:
    """A process that runs a study, or claims it while `holds` is false.

    `started` is when the process was created, in seconds since 1970; `started_after_boot` the same
    since the machine was started, which no change of the clock touches. `machine` names the boot
    and the process namespace in which `pid` has its meaning.
    """

    host: str
    machine: str
    pid: int
    started: float
    started_after_boot: float
    holds: bool = False

    @classmethod
    def from_record(cls, record: Mapping[str, Any], path: str) -> Holder:
        """The holder in the record of a lease; raises DamagedFileError naming `path` if it has
        none."""
        kinds = {"host": str, "machine": str, "pid": int, "holds": bool}
        values: dict[str, Any] = {field.name: record.get(field.name) for field in fields(cls)}
        for name, value in values.items():
            if not isinstance(value, kinds.get(name, (int, float))):
                raise DamagedFileError(f"{path}: is no record of a lease: {name} = {value!r}")
        for name, end in (("pid", 2**31), ("started", 2**40)):
            if not 0 < values[name] < end:
                raise DamagedFileError(f"{path}: is no record of a lease: {name} = {values[name]}")
        return cls(**values)

    @classmethod
    def this_process(cls) -> Holder:
        """This process, not holding yet."""
        process = psutil.Process()
        return cls(
            host=socket.gethostname(),
            machine=_machine(),
            pid=process.pid,
            started=process.create_time(),
            started_after_boot=_started_after_boot(process),
        )

    def __str__(self) -> str:
        started = datetime.fromtimestamp(self.started).astimezone().isoformat(timespec="seconds")
        return f"host {self.host}, pid {self.pid}, started {started}"

    def is_alive(self) -> bool | None:
        """Whether the process runs; None where it is on another machine and cannot be seen."""
        if self.machine != _machine():
            return None
        try:
            process = psutil.Process(self.pid)
            # Its start tells it from a later process that was given the same pid.
            same = abs(_started_after_boot(process) - self.started_after_boot) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def _started_after_boot(process: psutil.Process) -> float:
    return round(process.create_time() - psutil.boot_time(), 2)


def _machine() -> str:
    """Host names repeat among containers; a kernel's boot and its process namespaces do not."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{getnode():012x} {socket.gethostname()}"
