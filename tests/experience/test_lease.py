"""One driver at a time runs a study."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import psutil
import pytest
from samples import make_study

from metatune.errors import StoreError, StudyError, StudyLockedError
from metatune.experience import lease as lease_module
from metatune.experience.files import Files
from metatune.experience.holder import Holder
from metatune.experience.lease import Lease
from metatune.experience.sealed import seal
from metatune.experience.store import ExperienceStore

SCRIPT = Path(__file__).with_name("store_process.py")


@pytest.fixture
def store(uri: str) -> ExperienceStore:
    return ExperienceStore(uri)


@contextmanager
def holder(uri: str, study: str = "s") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that tries to hold the lease, and what it said."""
    command = [sys.executable, str(SCRIPT), "hold", uri, study]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, cast(IO[str], process.stdout).readline().strip()
    finally:
        process.kill()
        process.communicate()


def records(store: ExperienceStore) -> list[str]:
    return [entry.path for entry in Files(store.uri).entries("leases")]


def plant(store: ExperienceStore, holder: Holder, name: str = "f" * 32) -> str:
    """Put the record of a holder, written just now."""
    path = store.path("leases", "s", f"{name}.json")
    record = {"study": "s", **asdict(holder), "heartbeat": time.time()}
    Files(store.uri).write(path, [seal(record)])
    return path


def elsewhere() -> Holder:
    """A process of another machine that holds the lease."""
    return replace(Holder.this_process(), host="far", machine="another boot", holds=True)


def test_a_second_process_is_refused_and_told_who_runs_the_study(store: ExperienceStore) -> None:
    with holder(store.uri) as (process, said):
        assert said == "held"
        created = datetime.fromtimestamp(psutil.Process(process.pid).create_time()).astimezone()
        who = f"host {socket.gethostname()}, pid {process.pid}, started "
        with pytest.raises(StudyLockedError, match=who) as caught:
            store.lease("s").acquire()
        assert created.isoformat(timespec="seconds")[:15] in str(caught.value)
        assert "give another name with --study" in str(caught.value)
        with store.lease("another study"):
            pass
        assert len(records(store)) == 1
        process.kill()
        process.wait()
        began = time.monotonic()
        with store.lease("s") as lease:
            lease.check()
            assert len(records(store)) == 1
        assert time.monotonic() - began < 2
    assert records(store) == []


def test_a_killed_process_that_nobody_has_waited_for_is_dead(tmp_path: Path) -> None:
    with holder(str(tmp_path)) as (process, said):
        assert said == "held"
        process.send_signal(signal.SIGKILL)
        end = time.monotonic() + 5
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
        with ExperienceStore(tmp_path).lease("s"):
            pass


def test_a_stopped_process_still_holds(tmp_path: Path) -> None:
    with holder(str(tmp_path)) as (process, said):
        assert said == "held"
        process.send_signal(signal.SIGSTOP)
        (path,) = records(ExperienceStore(tmp_path))
        os.utime(path, (time.time() - 3600,) * 2)
        with pytest.raises(StudyLockedError, match=f"pid {process.pid}"):
            ExperienceStore(tmp_path).lease("s").acquire()


def test_a_later_process_with_the_same_pid_holds_nothing(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    me = Holder.this_process()
    old = replace(me, started_after_boot=me.started_after_boot - 2, holds=True)
    path = plant(store, old)
    with store.lease("s"):
        assert not Path(path).exists()


def test_one_process_runs_a_study_once(store: ExperienceStore) -> None:
    first, second = store.lease("s"), store.lease("s")
    first.acquire()
    with pytest.raises(StudyLockedError, match=f"pid {os.getpid()}"):
        second.acquire()
    with pytest.raises(StudyLockedError, match="runs it already"):
        first.acquire()
    first.check()
    first.release()
    first.release()
    with second, pytest.raises(StudyLockedError, match="not held"):
        first.check()
    assert records(store) == []


def test_the_lease_is_given_back_after_an_error(store: ExperienceStore) -> None:
    with pytest.raises(KeyError), store.lease("s"):
        raise KeyError
    assert records(store) == []
    with pytest.raises(StudyError, match="is empty"):
        store.lease("")


def test_on_another_machine_heartbeats_decide(store: ExperienceStore) -> None:
    path = plant(store, elsewhere())
    match = f"host far, pid {os.getpid()}, started .*; it counts as dead 3 s after its last heart"
    with pytest.raises(StudyLockedError, match=match):
        store.lease("s", stale_seconds=3).acquire()
    assert records(store) == [path]
    time.sleep(2.2)  # times on S3 are whole seconds
    with store.lease("s", stale_seconds=1):
        assert path not in records(store)


def test_staleness_goes_by_the_clock_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExperienceStore(tmp_path)
    path = plant(store, elsewhere())
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(StudyLockedError):
        store.lease("s").acquire()
    os.utime(path, (Path(path).stat().st_mtime - 61,) * 2)
    with store.lease("s"):
        pass


def test_heartbeats_renew_the_record(store: ExperienceStore) -> None:
    with store.lease("s", heartbeat_seconds=0.05):
        (path,) = records(store)
        files = Files(store.uri)
        beats = set[float]()
        end = time.monotonic() + 10
        while len(beats) < 3:
            beats.add(json.loads(files.read(path))["record"]["heartbeat"])
            assert time.monotonic() < end
        assert json.loads(files.read(path))["record"]["pid"] == os.getpid()


def test_a_lease_taken_away_is_noticed(store: ExperienceStore) -> None:
    lease = store.lease("s", heartbeat_seconds=0.05).acquire()
    lease.check()
    Files(store.uri).delete(records(store)[0])
    end = time.monotonic() + 10
    while not lease._lost:
        assert time.monotonic() < end
    with pytest.raises(StudyLockedError, match="study 's': its lease was lost"):
        lease.check()
    time.sleep(0.2)
    assert records(store) == []
    lease.release()


class Unreliable:
    """Writes of leases fail as long as it `is_broken`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_broken = True
        self._write = Files.write
        monkeypatch.setattr(Files, "write", lambda *given, **more: self.write(*given, **more))

    def write(self, files: Files, path: str, *given: Any, **more: Any) -> None:
        if self.is_broken and "leases" in path:
            raise StoreError(f"{path}: cannot be written: no route to host")
        self._write(files, path, *given, **more)


def test_a_lease_that_cannot_be_renewed_is_in_doubt_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExperienceStore(tmp_path).lease("s", heartbeat_seconds=0.05, stale_seconds=0.6) as lease:
        unreliable = Unreliable(monkeypatch)
        time.sleep(0.1)
        lease.check()
        time.sleep(0.7)
        with pytest.raises(StoreError, match="no route to host"):
            lease.check()
        unreliable.is_broken = False
        lease.check()


@pytest.mark.parametrize("holds", [True, False])
def test_a_lease_in_doubt_is_lost_to_who_took_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    store = ExperienceStore(tmp_path)
    monkeypatch.setattr(lease_module, "_CLAIM_SECONDS", 0.2)
    lease = store.lease("s", heartbeat_seconds=60, stale_seconds=0.2).acquire()
    plant(store, replace(elsewhere(), holds=holds))
    lease.check()  # just renewed: nobody can have taken it
    time.sleep(0.15)
    plant(store, replace(elsewhere(), holds=holds))
    for _ in range(2):
        with pytest.raises(StudyLockedError, match="its lease was lost"):
            lease.check()
    lease.release()


def test_a_lease_in_doubt_outlives_who_only_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExperienceStore(tmp_path)
    lease = store.lease("s", heartbeat_seconds=60, stale_seconds=0.2).acquire()
    time.sleep(0.15)
    path = plant(store, replace(elsewhere(), holds=False))
    monkeypatch.setattr(time, "sleep", lambda _: Path(path).unlink(missing_ok=True))
    lease.check()
    lease.release()


def test_of_claims_at_one_time_the_lowest_name_wins(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = replace(elsewhere(), holds=False)
    low = plant(store, claim, "0" * 32)
    with pytest.raises(StudyLockedError, match="host far"):
        store.lease("s").acquire()
    Files(store.uri).delete(low)
    high = plant(store, claim, "g" * 32)
    rereads = []

    def withdraw(_: float) -> None:
        rereads.append(True)
        if len(rereads) == 2:
            Files(store.uri).delete(high)

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", withdraw)
        with store.lease("s"):
            assert len(rereads) == 2
    plant(store, claim, "g" * 32)
    monkeypatch.setattr(lease_module, "_CLAIM_SECONDS", 0.2)
    with pytest.raises(StudyLockedError, match="host far"):
        store.lease("s").acquire()


def test_a_claim_with_a_higher_name_that_becomes_the_holder_is_yielded_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExperienceStore(tmp_path)
    plant(store, replace(elsewhere(), holds=False), "g" * 32)
    monkeypatch.setattr(time, "sleep", lambda _: plant(store, elsewhere(), "g" * 32))
    with pytest.raises(StudyLockedError, match="host far"):
        store.lease("s").acquire()


def test_a_claimant_that_slept_yields_to_who_took_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExperienceStore(tmp_path)
    write = Lease._write

    def slept(lease: Lease, holder: Holder) -> None:
        if holder.holds:
            plant(store, elsewhere())
        write(lease, holder)

    monkeypatch.setattr(Lease, "_write", slept)
    with pytest.raises(StudyLockedError, match="host far"):
        store.lease("s").acquire()
    assert len(records(store)) == 1


def test_of_many_at_once_one_gets_it_or_none(store: ExperienceStore) -> None:
    held, refused = [], []
    barrier = threading.Barrier(6)

    def contend() -> None:
        lease = store.lease("s")
        barrier.wait()
        try:
            held.append(lease.acquire())
        except StudyLockedError:
            refused.append(lease)

    for _ in range(3):
        threads = [threading.Thread(target=contend) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(held), len(refused)) == (1, 5)
        held.pop().release()
        refused.clear()
    assert records(store) == []


def test_a_record_that_cannot_be_read_counts_by_its_age(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    path = Path(plant(store, elsewhere()))
    path.write_bytes(b"{}")
    with pytest.raises(StudyLockedError, match="is no record that metatune wrote"):
        store.lease("s").acquire()
    os.utime(path, (time.time() - 61,) * 2)
    with store.lease("s"):
        assert not path.exists()
