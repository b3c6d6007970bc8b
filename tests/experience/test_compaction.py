"""Compaction loses nothing, whatever else happens."""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from samples import make_study, make_trial, running

from metatune.errors import StoreError
from metatune.experience import compaction, trial_files
from metatune.experience.files import Entry, Files
from metatune.experience.store import ExperienceStore
from metatune.experience.trial_files import TrialFile
from metatune.task import Task


@pytest.fixture
def store(uri: str) -> ExperienceStore:
    """Two studies of one task and one of another, six trials each, a file a trial."""
    store = ExperienceStore(uri)
    for name, task in (("a", Task("t")), ("b", Task("t")), ("c", Task("u"))):
        store.put_study(make_study(name, task))
    for number in range(6):
        for name in "cba":
            store.append([make_trial(number, name, error="x" * 2000)])
    return store


def entries(store: ExperienceStore) -> list[Entry]:
    return Files(store.uri).entries("trials")


def test_files_of_a_task_and_space_become_one(store: ExperienceStore) -> None:
    before = store.trials()
    done = store.compact(grace_seconds=0)
    assert (done.files_merged, done.files_written, done.files_deleted) == (18, 2, 18)
    assert done.bytes_after == sum(entry.size for entry in entries(store)) < done.bytes_before
    assert len(entries(store)) == 2
    assert store.trials() == before
    assert store.verify() == []
    again = store.compact(grace_seconds=0)
    assert (again.files_merged, again.files_written, again.files_deleted) == (0, 0, 0)


def test_only_the_last_revision_is_kept(store: ExperienceStore) -> None:
    store.append([running(9, "a")])
    store.compact(grace_seconds=0)
    store.append([make_trial(9, "a", revision=1), make_trial(0, "a", revision=3, value=0.9)])
    before = store.trials()
    store.compact(grace_seconds=0)
    assert store.trials() == before
    assert len(before) == 19
    rows = sum(
        sum(file.group_rows())
        for file in (TrialFile(Files(store.uri), entry) for entry in entries(store))
    )
    assert rows == 19


def test_what_is_merged_is_deleted_after_the_grace_time(store: ExperienceStore) -> None:
    old = {entry.path for entry in entries(store)}
    before = store.trials()
    done = store.compact()
    assert (done.files_written, done.files_deleted) == (2, 0)
    assert old < {entry.path for entry in entries(store)}
    assert store.compact().files_written == 0
    store.append([make_trial(7, "a")])
    # The merged file and the new one are merged, and not what the first of them replaces.
    assert store.compact().files_merged == 2
    assert store.trials() == [*before[:6], make_trial(7, "a"), *before[6:]]
    done = store.compact(grace_seconds=0)
    assert (done.files_merged, done.files_deleted) == (0, 20)
    assert len(entries(store)) == 2
    assert len(store.trials()) == 19


def test_the_grace_time_goes_by_the_merged_file(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    for number in range(3):
        store.append([make_trial(number)])
    store.compact()
    merged = max(entries(store), key=lambda entry: entry.modified).path
    os.utime(merged, (time.time() - 30,) * 2)
    assert store.compact(grace_seconds=60).files_deleted == 0
    os.utime(merged, (time.time() - 61,) * 2)
    assert store.compact(grace_seconds=60).files_deleted == 3
    assert [entry.path for entry in entries(store)] == [merged]
    assert len(store.trials()) == 3


def test_sources_of_a_damaged_merged_file_are_kept(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    for number in range(3):
        store.append([make_trial(number)])
    store.compact()
    merged = max(entries(store), key=lambda entry: entry.modified).path
    Path(merged).write_bytes(Path(merged).read_bytes()[:-1])
    store.compact(grace_seconds=0)
    assert Path(merged).exists()
    Path(merged).unlink()
    assert len(store.trials()) == 3


def test_two_compactions_at_once_are_harmless(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.trials()
    merge = compaction._merge
    inside: list[bool] = []

    def interrupted(*args: object) -> str | None:
        if not inside:
            inside.append(True)
            store.compact(grace_seconds=0)
        return merge(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_merge", interrupted)
    store.compact(grace_seconds=0)
    assert store.trials() == before
    merged_twice = store.compact(grace_seconds=0)
    assert store.trials() == before
    assert len(entries(store)) == 2
    assert merged_twice.files_written == 0


def test_both_of_two_merged_files_with_the_same_rows_are_merged_again(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.trials()
    with monkeypatch.context() as nothing_deleted:
        nothing_deleted.setattr(Files, "delete", lambda *_: False)
        old = entries(store)
        store.compact()
        for entry in old:  # as the other compaction saw the folder
            assert entry in entries(store)
        with monkeypatch.context() as blind:
            blind.setattr(compaction, "_source", _without_replaces(compaction._source, old))
            store.compact()
    assert len(entries(store)) == 18 + 4
    assert store.trials() == before
    store.compact(grace_seconds=0)
    store.compact(grace_seconds=0)
    assert len(entries(store)) == 2
    assert store.trials() == before


def _without_replaces(source: object, old: list[Entry]) -> object:
    """Sources as they were before anything was merged."""
    paths = {entry.path for entry in old}
    return lambda files, entry: source(files, entry) if entry.path in paths else None  # type: ignore[operator]


def test_a_merged_file_that_cannot_be_written_changes_nothing(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, old = store.trials(), entries(store)

    def full(*_: object) -> None:
        raise StoreError("x: cannot be written: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Files, "write", full)
        with pytest.raises(StoreError, match="no space left"):
            store.compact(grace_seconds=0)
    assert entries(store) == old
    assert store.trials() == before


def test_unfinished_writes_are_deleted_after_an_hour(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    store.append([make_trial()])
    folder = Path(entries(store)[0].folder)
    left = [folder / f".{uuid4().hex}.tmp", tmp_path / "studies" / f".{uuid4().hex}.tmp"]
    others = [folder / f".{uuid4().hex}.tmp", tmp_path / ".someone-elses.tmp"]
    for path in (*left, *others):
        path.write_bytes(b"half")
    for path in (*left, others[1]):
        os.utime(path, (time.time() - 3601,) * 2)
    store.compact()
    assert [path.exists() for path in (*left, *others)] == [False, False, True, True]


def test_row_groups_are_bounded_and_sorted_by_study(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (compaction, trial_files):
        monkeypatch.setattr(module, "ROW_GROUP_ROWS", 3)
    before = store.trials()
    store.compact(grace_seconds=0)
    entry = min(entries(store), key=lambda entry: entry.path)
    read: list[int] = []
    with TrialFile(Files(store.uri), entry) as file:
        assert file.group_rows() == [3, 3, 3, 3]
        group = file.group
        file.group = lambda index, columns: read.append(index) or group(index, columns)  # type: ignore
        assert file.rows(["study", "number"], "b").num_rows == 6
    assert read == [2, 3]
    assert store.trials() == before
    store.append([make_trial(6, "a")])
    store.compact(grace_seconds=0)
    assert len(store.trials()) == 19
    monkeypatch.setattr(compaction, "_GROUP_BYTES", 1)
    store.append([make_trial(7, "a")])
    store.compact(grace_seconds=0)
    with TrialFile(Files(store.uri), entries(store)[0]) as file:
        assert max(file.group_rows()) <= 3
    assert len(store.trials()) == 20


def test_a_merged_file_is_plain_parquet(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    for number in range(2):
        store.append([make_trial(number)])
    store.compact(grace_seconds=0)
    (path,) = [entry.path for entry in entries(store)]
    table = pq.read_table(path)
    assert table["value"].to_pylist() == [0.5, 0.5]
    assert table["curve_value"].to_pylist() == [[0.25, 0.5]] * 2
    metadata = pq.read_metadata(path).metadata
    assert metadata[b"metatune.schema"] == b"1"
    assert b"metatune.writer" in metadata
