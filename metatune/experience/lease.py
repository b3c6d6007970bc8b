"""Leases: one driver at a time runs a study.

A holder keeps one record in the study's folder of leases and rewrites it every few seconds. A
lease is acquired by writing a claim, then looking: a live holder, or a live claim with a lower
name, makes the claimant withdraw. A live claim with a higher name is waited for: it either sees
this claim and withdraws, or it looked before and becomes the holder. Whichever of two claims is
written later is read after both are there, so that two never hold, without any lock.

A holder that could not renew its record for a while, as when the store did not answer, may have
been taken for dead. It goes on only if its record is still there and, once that is renewed, nobody
else holds or claims the study.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from threading import Event, RLock, Thread
from types import TracebackType
from uuid import uuid4

from metatune.errors import (
    DamagedFileError,
    SchemaVersionError,
    StoreAddressError,
    StoreError,
    StudyLockedError,
)
from metatune.experience.files import Entry, Files, file_name
from metatune.experience.holder import Holder
from metatune.experience.sealed import read_record, seal

_CLAIM_SECONDS = 5.0
_REREAD_SECONDS = 0.1


@dataclass(frozen=True)
class _Rival:
    """A live record of another: its file name, whether it holds, and who it is in words."""

    name: str
    holds: bool
    who: str


class Lease:
    """The right to run a study: `with store.lease(name):`, or `acquire` and `release`.

    The record is renewed every `heartbeat_seconds`. On the holder's machine its process decides
    whether it lives; elsewhere it counts as dead when its record has not been renewed for
    `stale_seconds`, by the store's clock.
    """

    def __init__(
        self,
        files: Files,
        study: str,
        heartbeat_seconds: float = 10.0,
        stale_seconds: float = 60.0,
    ) -> None:
        self._given = self._files = files
        self._study = study
        self._folder = ("leases", file_name(study))
        self._path = files.path(*self._folder, f"{uuid4().hex}.json")
        self._heartbeat_seconds = heartbeat_seconds
        self._stale_seconds = stale_seconds
        self._stop = Event()
        self._thread: Thread | None = None
        self._holder: Holder | None = None
        self._renewing = RLock()
        self._renewed = 0.0
        self._lost = False

    def acquire(self) -> Lease:
        """Take the lease. Raises StudyLockedError naming the process that has it."""
        if self._thread is not None:
            raise StudyLockedError(f"study {self._study!r}: this process runs it already")
        claim = Holder.this_process()
        holder = replace(claim, holds=True)
        self._files = self._given
        try:
            self._write(claim)
            self._yield_to(self._stronger_claimant())
            self._write(holder)
            # A claimant that slept may have been taken for dead, and its study given to another.
            self._yield_to(next((rival for rival in self._rivals() if rival.holds), None))
        except BaseException:
            self._remove()
            raise
        # From here on a store that does not answer is asked again at the next beat.
        self._files, self._holder = self._given.hasty(), holder
        self._lost = False
        self._stop.clear()
        self._thread = Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def release(self) -> None:
        """Give the lease back; nothing happens where it is not held."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._remove()

    def check(self) -> None:
        """Raise StudyLockedError if the lease is not held, or was lost to another process while
        it could not be renewed.

        Asks the store only where the last renewal is more than half of `stale_seconds` ago, and
        then renews it: raises StoreError where that cannot be done.
        """
        if self._thread is None:
            raise StudyLockedError(f"study {self._study!r}: its lease is not held")
        if self._is_late():
            self._renew()
        if self._lost:
            late = time.monotonic() - self._renewed
            raise StudyLockedError(
                f"study {self._study!r}: its lease was lost, {late:.0f} s after its last renewal; "
                f"another process may run it, start again"
            )

    def __enter__(self) -> Lease:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _write(self, holder: Holder) -> None:
        # The time is for people to read: staleness goes by when the store says it was written.
        record = {"study": self._study, **asdict(holder), "heartbeat": time.time()}
        self._files.write(self._path, [seal(record)])
        self._renewed = time.monotonic()

    def _remove(self) -> None:
        # Where the store fails it is left there, and counts as dead soon.
        with suppress(StoreError, StoreAddressError):
            self._files.hasty().delete(self._path)

    def _beat(self) -> None:
        while not self._lost and not self._stop.wait(self._heartbeat_seconds):
            # Tried again at the next beat; check() tells when it took too long.
            with suppress(StoreError, StoreAddressError):
                self._renew()

    def _is_late(self) -> bool:
        return time.monotonic() - self._renewed > self._stale_seconds / 2

    def _renew(self) -> None:
        """Renew the record, or note that the lease was lost."""
        with self._renewing:
            if self._lost or self._holder is None:
                return
            is_late = self._is_late()
            if self._path not in {entry.path for entry in self._files.entries(*self._folder)}:
                self._lost = True
                return
            before = self._renewed
            try:
                self._write(self._holder)
                self._lost = is_late and self._is_taken()
            except BaseException:
                self._renewed = before  # it is still not known who has the study
                raise

    def _is_taken(self) -> bool:
        """Whether another holds the study, or is about to: who only looked withdraws."""
        deadline = time.monotonic() + _CLAIM_SECONDS
        while rivals := self._rivals():
            if any(rival.holds for rival in rivals) or time.monotonic() > deadline:
                return True
            time.sleep(_REREAD_SECONDS)
        return False

    def _yield_to(self, rival: _Rival | None) -> None:
        if rival is not None:
            raise StudyLockedError(
                f"study {self._study!r} is being run by another process ({rival.who}); wait for "
                f"its end, or give another name with --study"
            )

    def _stronger_claimant(self) -> _Rival | None:
        """Whom to yield to, once every claim that must yield to this one is decided."""
        deadline = time.monotonic() + _CLAIM_SECONDS
        while True:
            rivals = self._rivals()
            stronger = [r for r in rivals if r.holds or r.name < self._path.rpartition("/")[2]]
            if stronger or not rivals:
                return stronger[0] if stronger else None
            if time.monotonic() > deadline:
                return rivals[0]
            time.sleep(_REREAD_SECONDS)

    def _rivals(self) -> list[_Rival]:
        """The live records of others; those of the dead are removed."""
        entries = self._files.entries(*self._folder)
        # Written just now: it tells the store's clock, which need not be this machine's.
        now = max((entry.modified for entry in entries if entry.path == self._path), default=0.0)
        rivals = []
        for entry in entries:
            if entry.path == self._path:
                continue
            try:
                rival = self._rival(entry, now - entry.modified)
            except FileNotFoundError:
                continue  # released meanwhile
            if rival is None:
                self._files.delete(entry.path)
            else:
                rivals.append(rival)
        return rivals

    def _rival(self, entry: Entry, age: float) -> _Rival | None:
        """The rival of a record last written `age` seconds ago; None if it is dead."""
        try:
            holder = Holder.from_record(read_record(self._files, entry.path), entry.path)
        except (DamagedFileError, SchemaVersionError) as error:
            return None if age > self._stale_seconds else _Rival(entry.name, True, str(error))
        alive = holder.is_alive()
        if alive is None:
            alive = age <= self._stale_seconds
            beat = f"; it counts as dead {self._stale_seconds:.0f} s after its last heartbeat"
            return _Rival(entry.name, holder.holds, f"{holder}{beat}") if alive else None
        return _Rival(entry.name, holder.holds, str(holder)) if alive else None
