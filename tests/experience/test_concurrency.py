"""Many processes write, read and compact one store at a time; writers die at any moment."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from samples import make_study, make_trial

from metatune.experience.files import Files
from metatune.experience.store import ExperienceStore
from metatune.trial import Trial

SCRIPT = Path(__file__).with_name("store_process.py")
WRITERS, EACH = 8, 200


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    return out.strip()


def write_read_and_compact(uri: str, batch: int, grace: float) -> None:
    """Eight writers append so many trials at a time, while two read and one compacts."""
    total = WRITERS * EACH
    readers = [start("read", uri, total) for _ in range(2)]
    compactor = start("compact", uri, total, grace)
    writers = [start("append", uri, f"s{n}", EACH, batch) for n in range(WRITERS)]
    for writer in writers:
        end(writer)
    reads = [int(end(reader)) for reader in readers]
    deleted = int(end(compactor))
    assert sum(reads) > 2
    assert deleted > 0
    store = ExperienceStore(uri)
    expected = [make_trial(number, f"s{n}") for n in range(WRITERS) for number in range(EACH)]
    assert store.trials() == expected
    assert store.verify() == []
    store.compact(grace_seconds=0)
    assert store.trials() == expected
    assert len(Files(uri).entries("trials")) == 1


def test_nothing_is_lost_while_many_write_read_and_compact(tmp_path: Path) -> None:
    write_read_and_compact(str(tmp_path / "store"), batch=2, grace=0.5)


@pytest.mark.slow  # the server is one process that answers a hundred requests a second
def test_nothing_is_lost_while_many_write_read_and_compact_on_s3(s3_uri: str) -> None:
    write_read_and_compact(s3_uri, batch=10, grace=1.5)


def test_one_store_may_be_shared_by_threads(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())

    def append(start: int) -> None:
        for number in range(start, start + 20):
            store.append([make_trial(number)])

    threads = [threading.Thread(target=append, args=(20 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [trial.number for trial in store.trials()] == list(range(80))


@pytest.mark.parametrize(
    ("call", "count", "when"),
    [
        ("open", 1, "before"),
        ("open", 1, "after"),
        ("write", 1, "half"),
        ("fsync", 1, "before"),
        ("fsync", 2, "after"),
        ("fsync", 3, "after"),
        ("fsync", 4, "before"),
        ("fsync", 5, "before"),
        ("fsync", 5, "after"),
        ("replace", 1, "before"),
        ("replace", 1, "after"),
    ],
)
def test_a_writer_killed_at_any_write_leaves_all_or_nothing(
    call: str, count: int, when: str, tmp_path: Path
) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    if call != "fsync":  # these die in the first append, which makes the folders too
        store.append([make_trial(number) for number in range(2)])
    known = store.trials()
    process = start("crash", tmp_path, call, count, when)
    process.communicate(timeout=60)
    assert process.returncode == 9
    found = store.trials()
    appended: list[Trial] = [make_trial(number, revision=1) for number in range(3)]
    assert found in (known, appended)
    if (call, when) == ("replace", "after"):
        assert found == appended
    if call in ("open", "write") or (call, when) == ("replace", "before"):
        assert found == known
    assert store.verify() == []
    visible = [entry.name for entry in Files(tmp_path).entries("trials")]
    assert len(visible) == bool(known) + (found == appended)
    store.append(appended)
    assert store.trials() == appended
