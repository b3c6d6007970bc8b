"""Snapshots of networks in training: folders on the file system of the store."""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs
from safetensors import SafetensorError

from metatune.errors import StoreError
from metatune.experience.patience import Patience

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one population or study, each a folder in `folder` on `filesystem`.

    Each is written under a name of its own and counts only once that name is recorded, so that
    one which was cut short is never read. Paths come from records, which others may have made: one
    that is not in `folder`, or behind a symbolic link of the store, is neither read nor deleted.
    """

    filesystem: fs.FileSystem
    folder: str

    def write(self, save: Callable[[str], None]) -> str:
        """The path of a new snapshot, of what `save` puts into the local folder it is given."""
        path = f"{self.folder}/{uuid4().hex}"
        if not self._is_inside(path):
            raise StoreError(f"{self.folder}: is not a folder of this store's runs")
        if self._is_local:
            with _errors("written", path):
                save(path)
                _sync(Path(path))
            return path
        with tempfile.TemporaryDirectory() as local:
            save(local)
            self._call(
                "written",
                path,
                lambda: fs.copy_files(local, path, destination_filesystem=self.filesystem),
            )
        return path

    @contextmanager
    def local(self, path: str) -> Iterator[str]:
        """A local folder with what is in the snapshot at `path`; empty if that is gone."""
        if self._is_local and self._is_inside(path):
            yield path
            return
        with tempfile.TemporaryDirectory() as local:
            if self.has(path):
                self._call(
                    "read",
                    path,
                    lambda: fs.copy_files(path, local, source_filesystem=self.filesystem),
                )
            yield local

    def has(self, path: str) -> bool:
        """Whether there is a snapshot at `path`."""
        if not self._is_inside(path):
            return False
        info = self._call("looked for", path, lambda: self.filesystem.get_file_info(path))
        return bool(info.type == fs.FileType.Directory)

    def keep_only(self, paths: Collection[str]) -> None:
        """Delete all other snapshots."""
        names = {path.rpartition("/")[2] for path in paths}  # the store may have been moved
        selector = fs.FileSelector(self.folder, allow_not_found=True)
        found = self._call("listed", self.folder, lambda: self.filesystem.get_file_info(selector))
        for info in found:
            if info.base_name not in names:
                self.delete([info.path])

    def delete(self, paths: Collection[str]) -> None:
        """Delete some snapshots, those that are there."""
        for path in filter(self._is_inside, paths):
            with suppress(FileNotFoundError):
                self._call("deleted", path, partial(self.filesystem.delete_dir, path))

    def _call(self, verb: str, path: str, attempt: Callable[[], Answer]) -> Answer:
        with _errors(verb, path):
            return Patience(path, has_answered=True)(attempt)

    def delete_all(self) -> None:
        """Delete the folder itself."""
        if self._is_inside(f"{self.folder}/all"):
            with suppress(FileNotFoundError):
                delete = partial(self.filesystem.delete_dir, self.folder)
                self._call("deleted", self.folder, delete)

    def _is_inside(self, path: str) -> bool:
        if not path.startswith(f"{self.folder}/") or posixpath.normpath(path) != path:
            return False
        root = self.folder.rpartition("/runs/")[0]  # of the store, which may be behind a link
        names = path.removeprefix(f"{root}/").split("/")
        parts = accumulate(names, "{}/{}".format, initial=root)
        return not (self._is_local and any(map(os.path.islink, [*parts][1:])))

    @property
    def _is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)


@contextmanager
def _errors(verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be {verb}: {' '.join(str(error).split())}") from error


def _sync(folder: Path) -> None:
    """Make a new folder and its files survive a failure of power."""
    for path in (*folder.iterdir(), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
