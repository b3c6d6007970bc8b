"""Snapshots of a population: folders on the file system of the store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pyarrow import fs


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one population, each a folder in `folder` on `filesystem`.

    Each is written under a name of its own and counts only once that name is recorded, so that
    one which was cut short is never read.
    """

    filesystem: fs.FileSystem
    folder: str

    def write(self, save: Callable[[str], None]) -> str:
        """The path of a new snapshot, of what `save` puts into the local folder it is given."""
        path = f"{self.folder}/{uuid4().hex}"
        if self._is_local:
            save(path)
            _sync(Path(path))
            return path
        with tempfile.TemporaryDirectory() as local:
            save(local)
            fs.copy_files(local, path, destination_filesystem=self.filesystem)
        return path

    @contextmanager
    def local(self, path: str) -> Iterator[str]:
        """A local folder with what is in the snapshot at `path`; empty if that is gone."""
        if self._is_local:
            yield path
            return
        with tempfile.TemporaryDirectory() as local:
            if self.filesystem.get_file_info(path).type == fs.FileType.Directory:
                fs.copy_files(path, local, source_filesystem=self.filesystem)
            yield local

    def keep_only(self, paths: Collection[str]) -> None:
        """Delete all other snapshots."""
        names = {path.rpartition("/")[2] for path in paths}  # the store may have been moved
        selector = fs.FileSelector(self.folder, allow_not_found=True)
        for info in self.filesystem.get_file_info(selector):
            if info.base_name not in names:
                self.delete([info.path])

    def delete(self, paths: Collection[str]) -> None:
        """Delete some snapshots, those that are there."""
        for path in paths:
            with suppress(FileNotFoundError):
                self.filesystem.delete_dir(path)

    @property
    def _is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)


def _sync(folder: Path) -> None:
    """Make a new folder and its files survive a failure of power."""
    for path in (*folder.iterdir(), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
