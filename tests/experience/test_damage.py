"""What is not what was written is named, and stops no read of the rest."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import make_study, make_trial, running

from metatune.errors import DamagedFileError, ExperienceWarning, SchemaVersionError, StoreError
from metatune.experience import trial_files
from metatune.experience.files import Entry, Files
from metatune.experience.records import to_table
from metatune.experience.store import ExperienceStore
from metatune.experience.trial_files import encode
from metatune.trial import Trial

TRIALS = [make_trial(number) for number in range(4)]


@pytest.fixture
def store(uri: str) -> ExperienceStore:
    """A store with a file for each of TRIALS."""
    store = ExperienceStore(uri)
    store.put_study(make_study())
    for trial in TRIALS:
        store.append([trial])
    return store


def files_of(store: ExperienceStore, folder: str = "trials") -> list[str]:
    return [entry.path for entry in Files(store.uri).entries(folder)]


def overwrite(store: ExperienceStore, path: str, change: Callable[[bytes], bytes]) -> None:
    with store.filesystem.open_input_stream(path) as stream:
        data = change(stream.read())
    with store.filesystem.open_output_stream(path) as out:
        out.write(data)


def flip(bit: int) -> Callable[[bytes], bytes]:
    """Flip one bit, counted from the end round and round."""

    def change(data: bytes) -> bytes:
        damaged = bytearray(data)
        damaged[-1 - bit // 8 % len(data)] ^= 1 << bit % 8
        return bytes(damaged)

    return change


def number_in(store: ExperienceStore, path: str) -> int:
    """Which of TRIALS is in a file."""
    with store.filesystem.open_input_file(path) as file:
        return int(pq.read_table(file)["number"][0].as_py())


def test_damaged_files_are_named_and_the_rest_is_read(store: ExperienceStore) -> None:
    truncated, flipped, emptied, _ = files_of(store)
    kept = number_in(store, files_of(store)[3])
    overwrite(store, truncated, lambda data: data[: len(data) // 2])
    overwrite(store, flipped, flip(5003))
    overwrite(store, emptied, lambda _: b"")
    damage = store.verify()
    assert [d.path for d in damage] == [truncated, flipped, emptied]
    assert {d.reason for d in damage} == {"its content does not match its hash"}
    asked: list[dict[str, Any]] = [{}, {"study": "s"}, {"task": "digits"}]
    for of in asked:
        with pytest.warns(ExperienceWarning) as caught:
            assert store.trials(**of) == [TRIALS[kept]]
        assert caught[0].filename == __file__
        assert len(caught) == 1
        message = str(caught[0].message)
        assert message.startswith("3 of 4 files left out: ")
        assert all(path in message for path in (truncated, flipped, emptied))
    with pytest.warns(ExperienceWarning):
        assert len(store.past_tasks()[0].trials) == 1


def test_damaged_files_are_neither_merged_nor_deleted(store: ExperienceStore) -> None:
    damaged = files_of(store)[0]
    overwrite(store, damaged, flip(100))
    assert store.compact(grace_seconds=0).files_merged == 3
    assert damaged in files_of(store)
    assert [d.path for d in store.verify()] == [damaged]
    with pytest.warns(ExperienceWarning):
        assert len(store.trials()) == 3


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_flipped_bit_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = ExperienceStore(tmp_path_factory.mktemp("store"))
    store.put_study(make_study())
    store.append(TRIALS)
    with store.lease("s"):
        (path,) = files_of(store, data.draw(st.sampled_from(["studies", "trials", "leases"])))
        content = Path(path).read_bytes()
        Path(path).write_bytes(flip(data.draw(st.integers(0, 10**5)))(content))
        assert [d.path for d in store.verify()] == [path]
        Path(path).write_bytes(content)
        assert store.verify() == []


def test_a_damaged_study_is_named_and_its_trials_are_read(store: ExperienceStore) -> None:
    store.put_study(make_study("other"))
    store.append([make_trial(0, "other")])
    path = next(path for path in files_of(store, "studies") if path.endswith("/s.json"))
    overwrite(store, path, lambda data: data.replace(b'"seed": 1', b'"seed": 2'))
    with pytest.raises(DamagedFileError, match=r"studies/s.json: its content does not match"):
        store.find_study("s")
    with pytest.warns(ExperienceWarning, match=r"1 of 2 files left out: .*s.json"):
        assert [study.name for study in store.studies()] == ["other"]
    assert store.trials(study="s") == store.trials(study="s", task="digits") == TRIALS
    store.put_study(make_study())
    assert store.verify() == []


def test_a_study_under_another_name_is_damage(store: ExperienceStore) -> None:
    (path,) = files_of(store, "studies")
    other = path.replace("s.json", "t.json")
    store.filesystem.copy_file(path, other)
    with pytest.raises(DamagedFileError, match="holds study 's', whose file has another name"):
        store.find_study("t")
    assert [d.path for d in store.verify()] == [other]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"schema": "x"}', b"null"])
def test_what_is_no_record_is_named(content: bytes, tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    (tmp_path / "studies" / "s.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"studies/s\.json: "):
        store.study("s")


def test_files_that_do_not_belong_are_named_but_unfinished_writes_are_not(
    store: ExperienceStore,
) -> None:
    trial = files_of(store)[0]
    folder = trial.rpartition("/")[0]
    strays = [f"{folder}/part-0.parquet", store.path("trials", "x.parquet")]
    strays += [store.path("studies", "notes.txt"), store.path("leases", "x.json")]
    others = [f"{folder}/.{uuid4().hex}.tmp", store.path("weights", "w.safetensors")]
    for path in (*strays, *others):
        if store.is_local:
            Path(path).parent.mkdir(exist_ok=True)
        store.filesystem.copy_file(trial, path)
    assert [d.path for d in store.verify()] == sorted(strays)
    with pytest.warns(ExperienceWarning, match="2 of 6 files left out"):
        assert store.trials() == TRIALS


def newer_trial_file(store: ExperienceStore, version: bytes) -> str:
    """Put a file of trial 9 of a newer schema, intact, where trials are."""
    table = to_table([make_trial(9)]).append_column("mood", pa.array(["good"]))
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"metatune.schema": version}), sink)
    data = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()[:16]
    path = f"{files_of(store)[0].rpartition('/')[0]}/{uuid4().hex}-{digest}.parquet"
    Files(store.uri).write(path, [data])
    return path


def test_a_newer_schema_is_refused_by_name(store: ExperienceStore) -> None:
    old = files_of(store)
    path = newer_trial_file(store, b"7")
    match = rf"{path}: its schema version 7 is newer than 1, the newest that metatune .* reads"
    with pytest.warns(ExperienceWarning, match=match):
        assert store.trials() == TRIALS
    assert [d.path for d in store.verify()] == [path]
    assert "install a newer metatune" in store.verify()[0].reason
    store.compact(grace_seconds=0)
    assert path in files_of(store)
    store.filesystem.delete_file(next(p for p in files_of(store) if p != path))
    assert not set(old) & set(files_of(store))
    for read in (store.trials, store.past_tasks, store.cutoff):
        with pytest.raises(SchemaVersionError, match=match):
            read()


def test_a_newer_file_does_not_stop_the_use_of_what_the_index_knows(store: ExperienceStore) -> None:
    store.compact(grace_seconds=0)
    before = store.cutoff()
    assert before
    path = newer_trial_file(store, b"7")
    folder = f"{path.rpartition('/')[0]}0"  # of a task and space of its own
    store.filesystem.create_dir(folder)
    store.filesystem.move(path, f"{folder}/{path.rpartition('/')[2]}")
    with pytest.warns(ExperienceWarning, match="1 of 2 files left out"):
        assert store.cutoff() == before


@pytest.mark.parametrize("version", [b"", b"0", b"one"])
def test_a_version_that_never_was_is_damage(version: bytes, tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    store.append(TRIALS)
    path = newer_trial_file(store, version)
    assert [d.path for d in store.verify()] == [path]
    with pytest.warns(ExperienceWarning, match="never was"):
        assert store.trials() == TRIALS


def test_a_study_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    path = tmp_path / "studies" / "s.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))
    for read in (lambda: store.study("s"), store.studies):
        with pytest.raises(SchemaVersionError, match=r"s.json: its schema version 2 is newer"):
            read()
    store_with_two = ExperienceStore(tmp_path)
    store_with_two.put_study(make_study("t"))
    with pytest.warns(ExperienceWarning, match="schema version 2"):
        assert [study.name for study in store_with_two.studies()] == ["t"]


def test_a_reader_that_loses_a_file_lists_again(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = Files.entries
    calls = []

    def compacted_after_listing(files: Files, *parts: str) -> list[Entry]:
        found = entries(files, *parts)
        calls.append(parts)
        if len(calls) <= 3:
            store.append([running(10 + len(calls))])
            with monkeypatch.context() as undisturbed:
                undisturbed.setattr(Files, "entries", entries)
                store.compact(grace_seconds=0)
        return found

    monkeypatch.setattr(Files, "entries", compacted_after_listing)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = store.trials()
    assert [trial.number for trial in read] == [0, 1, 2, 3, 11, 12, 13]
    assert len(calls) == 4


def test_a_reader_does_not_list_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    store.append([make_trial()])
    entries = Files.entries
    ghost = Entry(store.path("trials", f"{'0' * 32}-{'0' * 16}.parquet"), 10, 0.0)
    monkeypatch.setattr(Files, "entries", lambda *args, **kw: [*entries(*args, **kw), ghost])
    assert store.trials() == [make_trial()]


def test_an_unreadable_file_is_left_out_but_a_lost_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    for trial in TRIALS:
        store.append([trial])
    path = files_of(store)[0]
    read = Files.read
    code = 5

    def failing(files: Files, wanted: str, most: int) -> bytes:
        files.filesystem = Failing(files.filesystem) if wanted == path else files.filesystem
        return read(files, wanted, most)

    class Failing:
        def __init__(self, filesystem: object) -> None:
            self.filesystem = filesystem

        def open_input_stream(self, *args: object, **options: object) -> object:
            raise OSError(code, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", lambda _, *args: failing(Files(tmp_path), *args))
        with pytest.warns(ExperienceWarning, match=r"cannot be read: .*Input/output error"):
            assert len(store.trials()) == 3
        code = 107
        with pytest.raises(StoreError, match=r"cannot be read: .*Input/output error"):
            store.trials()


def big_file(store: ExperienceStore, trials: list[Trial]) -> str:
    store.append(trials)
    return max(Files(store.uri).entries("trials"), key=lambda entry: entry.size).path


def test_a_large_file_is_read_by_column_and_checked_by_page(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_study(make_study("t"))
    many = [make_trial(number, "t", error="x" * 100) for number in range(200)]
    path = big_file(store, many)
    monkeypatch.setattr(trial_files, "_WHOLE_BYTES", 20_000)
    assert store.trials(study="t") == many
    assert store.trials() == TRIALS + many
    assert store.verify() == []

    def corrupt(data: bytes) -> bytes:
        return data.replace(b"x" * 100, b"x" * 50 + b"y" + b"x" * 49)

    overwrite(store, path, corrupt)
    with pytest.warns(ExperienceWarning, match=rf"{path}: cannot be read: .*(?i:checksum)"):
        assert store.trials() == TRIALS
    assert len(store.trials(study="t", columns=("value",))) == 200
    assert [d.path for d in store.verify()] == [path]
    assert store.compact(grace_seconds=0).files_merged == 4
    overwrite(store, path, lambda data: data[:-1000])
    with pytest.warns(ExperienceWarning, match="1 of 2 files left out"):
        assert store.trials() == TRIALS


def test_encoding_is_the_same_for_the_same_trials() -> None:
    assert encode(to_table(TRIALS))[1] == encode(to_table(TRIALS))[1]
