"""Snapshots of populations, in a folder and on S3."""

from __future__ import annotations

from pathlib import Path

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
