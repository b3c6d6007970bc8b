"""Snapshots of populations, in a folder and on S3."""

from __future__ import annotations

from pathlib import Path

from pyarrow import fs

from metatune.experience.store import ExperienceStore
from metatune.orchestration.snapshots import Snapshots


def save(text: str, folder: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "file").write_text(text)


def read(snapshots: Snapshots, path: str) -> str | None:
    with snapshots.local(path) as folder:
        file = Path(folder, "file")
        return file.read_text() if file.exists() else None


def test_what_is_written_is_read_until_it_is_deleted(uri: str) -> None:
    store = ExperienceStore(uri)
    store.check_writable()
    snapshots = Snapshots(store.filesystem, store.path("runs", "r", "populations", "p0"))
    snapshots.keep_only([])
    one, two = (snapshots.write(lambda folder, t=text: save(t, folder)) for text in "ab")  # type: ignore[misc]
    assert one != two
    assert (read(snapshots, one), read(snapshots, two)) == ("a", "b")
    snapshots.delete([one])
    snapshots.delete([one])
    assert (read(snapshots, one), read(snapshots, two)) == (None, "b")
    three = snapshots.write(lambda folder: save("c", folder))
    snapshots.keep_only([three])
    assert (read(snapshots, two), read(snapshots, three)) == (None, "c")


def test_a_path_that_leads_out_of_the_folder_is_neither_read_nor_deleted(tmp_path: Path) -> None:
    folder, mine = tmp_path / "store" / "runs" / "r" / "p0", tmp_path / "mine"
    folder.mkdir(parents=True)
    save("secret", str(mine))
    (folder / "link").symlink_to(mine)
    snapshots = Snapshots(fs.LocalFileSystem(), str(folder))
    for path in (str(mine), f"{folder}/../../../../mine", f"{folder}/link", str(folder)):
        assert not snapshots.has(path)
        assert read(snapshots, path) is None
        snapshots.delete([path])
    behind = folder.parent / "p1"
    behind.symlink_to(tmp_path)
    elsewhere = Snapshots(fs.LocalFileSystem(), str(behind))
    elsewhere.delete([f"{behind}/mine"])
    elsewhere.delete_all()
    assert (mine / "file").read_text() == "secret"
    snapshots.delete_all()
    assert not folder.exists()
