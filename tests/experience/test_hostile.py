"""A file made by a stranger cannot exhaust memory, delete what is another's or leave the store."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from hostile import GOOD, good_store, parquet, plant, rows, sealed
from samples import SPACE, make_study, make_trial

from metatune.errors import DamagedFileError, ExperienceWarning, StoreError, StudyError
from metatune.experience import reading, trial_files
from metatune.experience.files import Files
from metatune.experience.limits import (
    MOST_ARRAYS_HEADER_BYTES,
    MOST_JSON_BYTES,
    MOST_RECORD_BYTES,
)
from metatune.experience.pages import extent_of
from metatune.experience.records import SCHEMA
from metatune.experience.store import ExperienceStore
from metatune.trial import Checkpoint, Report


def is_left_out(store: ExperienceStore, path: Path, reason: str) -> None:
    """The rest is read with one warning that names the file and the reason, and so does verify."""
    with pytest.warns(ExperienceWarning, match=reason) as caught:
        assert store.trials() == GOOD
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    assert [damage.path for damage in store.verify()] == [str(path)]
    store.compact(grace_seconds=0)
    assert path.exists()


def test_one_text_for_many_rows_is_not_unpacked(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    count, text = 2000, "x" * 300_000
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [text])
    table = rows(count).set_column(
        SCHEMA.get_field_index("error"), pa.field("error", texts.type), texts
    )
    data = parquet(table)
    assert len(data) < 200_000
    is_left_out(store, plant(store, data), "unpacks to more than 256 MiB")
    assert [trial.number for trial in store.trials(columns=["value"])][:4] == [0, 1, 2, 100]


def test_many_equal_texts_are_read_where_they_have_room(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    errors = [f"{'x' * 30_000}{number % 3}" for number in range(2000)]
    plant(store, parquet(rows(2000, error=errors)))
    read = store.trials()[3:]
    assert [trial.error for trial in read] == errors


def test_a_curve_of_equal_points_is_not_unpacked(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    count = 12_000_000

    def points(kind: pa.DataType) -> pa.Array:
        flat = pa.array(np.zeros(count), kind)
        field = pa.field("element", kind)
        return pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), flat, pa.list_(field))

    curves = {"curve_step": points(pa.int64())}
    curves |= {f"curve_{name}": points(pa.float64()) for name in ("value", "seconds")}
    data = parquet(rows(1, **curves))
    assert len(data) < 200_000
    is_left_out(store, plant(store, data), "unpacks to more than 256 MiB")


def test_a_small_file_does_not_become_a_large_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = good_store(tmp_path)
    monkeypatch.setattr(trial_files, "MOST_UNPACKED_BYTES", 0)
    monkeypatch.setattr(trial_files, "MOST_UNPACKED_TIMES", 20)
    data = parquet(rows(300, error=["x" * 20_000] * 300))
    is_left_out(store, plant(store, data), r"of \d+ bytes, unpacks to more than \d+")


def test_a_read_that_is_too_large_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = good_store(tmp_path)
    plant(store, parquet(rows(100, error=["x" * 5000] * 100)))
    monkeypatch.setattr(reading, "MOST_READ_BYTES", 200_000)
    with pytest.raises(StoreError, match=r"\.parquet: with it a read takes more than .* one task"):
        store.trials()
    assert len(store.trials(columns=["value"])) == 103


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"compression": "snappy"}, "is packed as metatune does not"),
        (
            {"use_dictionary": False, "column_encoding": {"number": "DELTA_BINARY_PACKED"}},
            "encoding 5, which metatune does not write",
        ),
    ],
)
def test_other_packings_are_not_read(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    store = good_store(tmp_path)
    is_left_out(store, plant(store, parquet(rows(3), **options)), reason)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"config": ["[" * 200_000]}, "trial s-100: config: maximum recursion"),
        ({"training": ['{"a":' * 200_000]}, "trial s-100: training: maximum recursion"),
        ({"config": [f'{{"a": "{"x" * MOST_JSON_BYTES}"}}']}, "JSON of 1048585 characters"),
        ({"config": ['{"lr": [1]}']}, "config: .* holds what cannot be there"),
        ({"tasks": ['{"lr": "x"}']}, "tasks: .* holds what cannot be there"),
        ({"checkpoint": ['["/", "1", 1]']}, "checkpoint: .* is no checkpoint"),
        ({"config": ["{}{}"]}, "JSON goes on after its end"),
        ({"config": [None]}, "config is missing in some row"),
        ({"state": ["GONE"]}, "in no state that trials have"),
        ({"curve_step": [[1]]}, "not as many values or times as steps"),
        ({"curve_step": [[1, None]]}, "lacks a step, value or time"),
        ({"error": pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())}, "UTF8"),
    ],
)
def test_rows_that_make_no_trial_are_damage(
    columns: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    store = good_store(tmp_path)
    is_left_out(store, plant(store, parquet(rows(1, **columns))), reason)


@pytest.mark.parametrize("replaces", ["[" * 100_000, "{}", "[[]]", "nothing", "[1]"])
def test_what_is_replaced_is_a_list_of_names(replaces: str, tmp_path: Path) -> None:
    store = good_store(tmp_path)
    is_left_out(store, plant(store, parquet(rows(1), replaces)), "names no files|cannot be read")


def test_a_file_that_claims_to_replace_others_deletes_nothing(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    store.append([make_trial(7)])
    others = [Path(entry.path).name for entry in Files(tmp_path).entries("trials")]
    plant(store, parquet(rows(1), json.dumps([*others, "../../../aliases.toml", "/etc/passwd"])))
    for _ in range(2):
        store.compact(grace_seconds=0)
        assert [trial.number for trial in store.trials()] == [0, 1, 2, 7, 100]


def footer_of(groups: int, columns: int) -> bytes:
    """A file of nothing but metadata, of so many row groups with so many empty columns each."""

    def varint(number: int) -> bytes:
        head = b""
        while number > 127:
            head, number = head + bytes([number & 127 | 128]), number >> 7
        return head + bytes([number])

    def elements(count: int) -> bytes:
        return b"\xfc" + varint(count)

    group = b"\x19" + elements(columns) + b"\0" * columns + b"\x16\0\x16\0\0"
    footer = b"\x15\x02\x19\x1c\x48\x01x\x15\0\0\x16\0\x19" + elements(groups) + group * groups
    footer += b"\x19\x1c\x18\x0fmetatune.schema\x18\x011\0\0"
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize(("groups", "columns"), [(400, 9_000), (1, 1_000_000), (20_000, 10)])
def test_a_footer_of_many_columns_is_not_believed(
    groups: int, columns: int, tmp_path: Path
) -> None:
    store = good_store(tmp_path)
    is_left_out(store, plant(store, footer_of(groups, columns)), "a row group has .* columns")


def test_a_footer_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    is_left_out(store, plant(store, footer_of(600, 9_000)), "metadata of at most 4194304 bytes")


@pytest.mark.parametrize(
    "chunk",
    [b"", b"\x15", b"\x15\x00\x15\x04\x15\x04", b"\x1c" * 50, b"\x18\xff\xff\xff\xff\x0f", b"\x19"],
)
def test_pages_that_are_none(chunk: bytes) -> None:
    with pytest.raises(ValueError, match=r"page|metadata"):
        extent_of(chunk, 1)


def test_a_record_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    path = tmp_path / "studies" / "t.json"
    path.write_bytes(b"[" * (MOST_RECORD_BYTES + 1))
    with pytest.warns(ExperienceWarning, match=r"t.json: has more than the 8,388,608 bytes"):
        assert [study.name for study in store.studies()] == ["s"]
    path.write_bytes(b"[" * 1_000_000)
    with pytest.raises(DamagedFileError, match=r"t.json: is no record that metatune wrote"):
        store.find_study("t")
    known = {f"study-{number:020d}": 1 for number in range(300_000)}
    with pytest.raises(StudyError, match=r"its record has .* bytes, with 300,000 studies"):
        store.put_study(replace(make_study("t"), experience=known))


@pytest.mark.parametrize(
    "model", ["../../../etc/passwd", "", "a/b", "..", "a" * 31, "A" * 32, "\0" * 32]
)
def test_models_have_no_other_names(model: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no model of such a name"):
        good_store(tmp_path).model(SPACE.id, model)


def test_a_header_of_arrays_is_bounded(tmp_path: Path) -> None:
    from metatune.experience.model_files import _arrays

    data = (MOST_ARRAYS_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}"
    with pytest.raises(DamagedFileError, match="m: has more to say of its arrays than it may"):
        _arrays(data, "m")


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "..", ".", "a/../../b", "a\0b", "%2e%2e"]
)
def test_names_of_studies_and_tasks_stay_inside(name: str, tmp_path: Path) -> None:
    from metatune.task import Task

    root = tmp_path / "a" / "b" / "store"
    store = ExperienceStore(root)
    store.put_study(make_study(name, Task(name)))
    store.append([make_trial(0, name)])
    with store.lease(name):
        assert [trial.study for trial in store.trials(study=name)] == [name]
    store.compact(grace_seconds=0)
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found
    assert all(root in path.parents for path in found)


def linked(path: Path, target: Path) -> None:
    if path.is_dir():
        path.rename(path.with_name(f"{path.name}-aside"))
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def test_links_are_not_followed_out_of_the_store(tmp_path: Path) -> None:
    store, outside = good_store(tmp_path / "store"), tmp_path / "outside"
    outside.mkdir()
    leftover = outside / f".{uuid4().hex}.tmp"
    leftover.write_bytes(b"another's")
    os.utime(leftover, (0, 0))
    (outside / "t.json").write_bytes(b"another's")
    linked(tmp_path / "store" / "trials" / "elsewhere", outside)
    linked(tmp_path / "store" / "trials" / "round", tmp_path / "store")
    linked(tmp_path / "store" / "studies" / "t.json", outside / "t.json")
    os.mkfifo(tmp_path / "store" / "studies" / "u.json")
    with pytest.warns(ExperienceWarning, match="elsewhere: is no file that metatune wrote"):
        assert store.trials() == GOOD
    with pytest.warns(
        ExperienceWarning, match=r"t\.json: is a symbolic link.*u\.json: is no plain"
    ):
        assert [study.name for study in store.studies()] == ["s"]
    store.compact(grace_seconds=0)
    assert leftover.exists()
    assert len(store.verify()) == 4


@pytest.mark.parametrize("folder", ["studies", "trials", "leases", "models"])
def test_nothing_is_written_through_links(folder: str, tmp_path: Path) -> None:
    store, outside = good_store(tmp_path / "store"), tmp_path / "outside"
    outside.mkdir()
    linked(tmp_path / "store" / folder, outside)
    writes: dict[str, Callable[[], object]] = {
        "studies": lambda: store.put_study(make_study("t")),
        "trials": lambda: store.append([make_trial(5)]),
        "leases": lambda: store.lease("s").acquire(),
        "models": lambda: store.put_model(SPACE.id, {}, {}),
    }
    with pytest.raises(StoreError, match=f"{folder}.* is a symbolic link"):
        writes[folder]()
    assert list(outside.iterdir()) == []


def test_folders_are_not_searched_without_end(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    (tmp_path / "trials" / "/".join("abcdefghij")).mkdir(parents=True)
    with pytest.raises(StoreError, match="folders lie more than 8 deep"):
        store.trials()


@pytest.mark.parametrize(
    "record",
    [{}, {"host": 1}, {"pid": -1}, {"pid": 10**30}, {"started": math.nan}, {"started": 1e300}],
)
def test_leases_that_are_none_are_told_of(record: dict[str, Any], tmp_path: Path) -> None:
    from metatune.errors import StudyLockedError

    store = good_store(tmp_path)
    with store.lease("s"):
        (path,) = (tmp_path / "leases" / "s").iterdir()
        found = json.loads(path.read_text())
    path.parent.mkdir(exist_ok=True)
    document = {key: found[key] for key in ("schema", "writer")}
    path.write_bytes(sealed({**document, "record": found["record"] | record if record else {}}))
    with pytest.raises(StudyLockedError, match="is no record of a lease"):
        store.lease("s").acquire()


def test_a_trial_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    curve = tuple(Report(step, 0.0, 0.0) for step in range(800_000))
    with pytest.raises(StoreError, match=r"trial s-5 cannot be stored: .* with 800,000 reports"):
        store.append([make_trial(4), make_trial(5, curve=curve)])
    with pytest.raises(StoreError, match="trial s-5: training cannot be stored: it has"):
        store.append([make_trial(5, training={"x": "y" * MOST_JSON_BYTES})])
    assert store.trials() == GOOD
    store.append([make_trial(5, error="a" * 200_000 + "b" * 200_000)])
    error = store.trials()[-1].error or ""
    assert len(error) < 300_000
    assert "137856 characters left out" in error


def test_large_row_groups_are_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_files, "_GROUP_BYTES", 10_000)
    store = ExperienceStore(tmp_path)
    store.put_study(make_study())
    many = [make_trial(n, error="x" * 900) for n in range(50)]
    store.append(many)
    (entry,) = Files(tmp_path).entries("trials")
    with trial_files.TrialFile(Files(tmp_path), entry) as file:
        assert len(file.group_rows()) >= 5
    assert store.trials() == many


def test_a_checkpoint_is_a_path_a_step_and_seconds(tmp_path: Path) -> None:
    store = good_store(tmp_path)
    trial = make_trial(4, checkpoint=Checkpoint("/p", 3, 1.5))
    store.append([trial])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.trials()[-1] == trial
