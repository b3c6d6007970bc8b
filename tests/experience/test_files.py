"""Files: names that stay in their folder, and writes that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.errors import StoreAddressError, StoreError, StudyError
from metatune.experience.files import Files, file_name
from metatune.experience.sealed import read_record, seal

HARD_NAMES = ["../../evil", "..", ".", "/etc/passwd", "a/b", "a\\b", "%2E", ".hidden", "x" * 300]
HARD_NAMES += ["名前", "a b", "nul\0", "C:", "~", "é" * 100, "x" * 300 + "y"]


@given(st.text(min_size=1), st.text(min_size=1))
def test_each_name_has_a_safe_file_name_of_its_own(one: str, other: str) -> None:
    for name in (one, other):
        made = file_name(name)
        assert made == Path(made).name
        assert made.isascii()
        assert len(made) <= 150
        assert not made.startswith(".")
    assert (file_name(one) == file_name(other)) == (one == other)


def test_hard_names_have_file_names_of_their_own() -> None:
    assert len({file_name(name) for name in HARD_NAMES}) == len(HARD_NAMES)
    for bad in ("", "\udcff"):
        with pytest.raises(StudyError, match="study name"):
            file_name(bad)


def test_a_write_is_read_listed_replaced_and_deleted(uri: str) -> None:
    files = Files(uri)
    path = files.path("some", "deep", "file.json")
    assert files.entries() == []
    with pytest.raises(FileNotFoundError):
        files.read(path)
    assert not files.delete(path)
    files.write(path, [b"one ", b"two"])
    assert files.read(path) == b"one two"
    files.write(path, [b"three"])
    assert files.read(path) == b"three"
    (entry,) = files.entries("some")
    assert (entry.path, entry.size, entry.name) == (path, 5, "file.json")
    assert entry.folder == files.path("some", "deep")
    assert files.delete(path)
    assert files.entries() == []


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_nothing_and_says_why(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path)
    path = files.path("study.json")
    files.write(path, [b"old"])

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError, match=r"study.json: cannot be written: .*No space left"):
            files.write(path, [b"new"])
    assert files.read(path) == b"old"
    assert [entry.name for entry in files.entries(temporary=True)] == ["study.json"]


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, data: write(to, data[:3]))
    Files(tmp_path).write(str(tmp_path / "file"), [b"0123456789"])
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_every_new_folder_is_synchronised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    files = Files(tmp_path / "new" / "store")
    files.write(files.path("a", "b", "file"), [b"x"])
    folders = [path for path in synced if path.is_dir()]
    new = [tmp_path, tmp_path / "new"]
    new += [Path(files.path(*parts)) for parts in ((), ("a",), ("a", "b"))]
    assert folders == new
    synced.clear()
    files.write(files.path("a", "b", "other"), [b"x"])
    assert [path for path in synced if path.is_dir()] == [Path(files.path("a", "b"))]


def test_a_folder_that_goes_away_is_made_again(tmp_path: Path) -> None:
    files = Files(tmp_path / "store")
    path = files.path("a", "file")
    files.write(path, [b"x"])
    Path(path).unlink()
    Path(files.path("a")).rmdir()
    files.write(path, [b"y"])
    assert files.read(path) == b"y"


def test_the_first_write_that_fails_blames_the_address(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    files = Files(tmp_path / "file" / "store")
    with pytest.raises(StoreAddressError, match=r"cannot be written: .*Not a directory"):
        files.write(files.path("x"), [b"x"])


def test_a_bucket_that_does_not_exist_is_named(s3_options: str) -> None:
    files = Files(f"s3://no-such-bucket/x?{s3_options}")
    with pytest.raises(StoreAddressError, match=r"NO_SUCH_BUCKET") as caught:
        files.write(files.path("x"), [b"x"])
    assert "\n" not in str(caught.value)
    assert files.entries() == []


class Between:
    """A file system on which something happens between opening a file and reading it."""

    def __init__(self, files: Files, happens: Callable[[], object]) -> None:
        self.filesystem, self.happens = files.filesystem, happens

    def __getattr__(self, name: str) -> object:
        return getattr(self.filesystem, name)

    def open_input_stream(self, *args: object, **options: object) -> object:
        stream = self.filesystem.open_input_stream(*args, **options)
        self.happens()
        return stream


@pytest.mark.parametrize("size", [10, 400, 3000])
def test_a_file_deleted_after_it_was_opened_has_vanished(uri: str, size: int) -> None:
    files = Files(uri)
    path = files.path("file")
    files.write(path, [b"x" * size])
    filesystem = files.filesystem
    files.filesystem = Between(files, lambda: filesystem.delete_file(path))
    if files.is_local:  # what is open can still be read
        assert files.read(path) == b"x" * size
    else:
        with pytest.raises(FileNotFoundError):
            files.read(path)


def test_a_record_replaced_while_it_is_read_is_read_again(uri: str) -> None:
    files = Files(uri)
    path = files.path("record.json")
    files.write(path, [seal({"trials": 1000})])
    filesystem = files.filesystem
    replaced: list[bool] = []

    def replace() -> None:
        if not replaced:
            replaced.append(True)
            Files(uri).write(path, [seal({"trials": 10})])

    files.filesystem = Between(files, replace)
    assert read_record(files, path)["trials"] == (1000 if files.is_local else 10)
    assert filesystem is not files.filesystem
