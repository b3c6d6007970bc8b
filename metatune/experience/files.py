"""Files under one root, on a local file system or on S3: whole-file writes, atomic and durable."""

from __future__ import annotations

import copy
import errno
import functools
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import quote
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from metatune.errors import DamagedFileError, StoreAddressError, StoreError, StudyError
from metatune.experience.address import parse_address
from metatune.experience.limits import MOST_ARRAYS_BYTES, MOST_DEPTH
from metatune.experience.patience import Patience

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
_CHUNK_BYTES = 1 << 20
# Decoding bounds reads of a local store, waiting those of one on S3.
_LOCAL_THREADS, _S3_THREADS = 2, 8
# What a store is made of; beside it may stand what others keep under the same root.
STORE_FOLDERS = ("studies", "trials", "models", "leases")
# What a broken disk or a foreign owner makes of one file; other errors are the whole store's.
_UNREADABLE = {errno.EACCES, errno.EPERM, errno.EIO}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Directories cannot be synchronised on some network file systems, which then do it themselves.
_UNSYNCABLE = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}


@dataclass(frozen=True)
class Entry:
    """A file as listed: `size` in bytes, `modified` in seconds since 1970 by the store's clock."""

    path: str
    size: int
    modified: float

    @property
    def folder(self) -> str:
        """The path of the folder it is in."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def is_temporary(self) -> bool:
        """Whether it is a write that has not ended, or never will."""
        return _TEMPORARY.fullmatch(self.name) is not None


def file_name(name: str, what: str = "study") -> str:
    """A file name of its own for each `name`, safe and at most 150 characters long.

    Raises StudyError for an empty name and for one that is no valid Unicode.
    """
    if not name:
        raise StudyError(f"{what} name {name!r} is empty; give it at least one character")
    try:
        quoted = quote(name, safe="")
    except UnicodeEncodeError as error:
        raise StudyError(f"{what} name {name!r} is no valid Unicode: {error}") from None
    if len(quoted) > 150:
        # quote never makes "%~", so that no short name can meet a long one.
        return f"{quoted[:100]}%~{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


def _patiently(
    method: Callable[Concatenate[Files, _Given], _Answer],
) -> Callable[Concatenate[Files, _Given], _Answer]:
    """The method, called again while the store does not answer."""

    def called(self: Files, /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Answer:
        return self._patience(lambda: method(self, *args, **kwargs))

    functools.update_wrapper(called, method)
    return called


class Files:
    """The files under `uri`; paths are those of its pyarrow file system.

    A write is there whole or not at all, and durable when it returns. Every failure of the file
    system is raised as StoreError, before the first write has worked as StoreAddressError. A store
    on the network that does not answer is waited for (see Patience): all there is to do here may be
    done twice.
    """

    def __init__(self, uri: str | Path) -> None:
        address = parse_address(uri)
        self._patience = Patience(address.uri.partition("?")[0])
        self.uri = address.uri
        self.filesystem = address.filesystem
        self.root = address.root
        self.is_local = address.is_local
        self._written = False
        self._durable_folders: set[str] = set()

    @property
    def threads(self) -> int:
        """How many files to read at a time."""
        return _LOCAL_THREADS if self.is_local else _S3_THREADS

    def hasty(self) -> Files:
        """The same files, but failing at once where the store does not answer."""
        files = copy.copy(self)
        files._patience = Patience(self.uri, 0.0)
        return files

    def path(self, *parts: str) -> str:
        """The path of `parts` under the root."""
        return "/".join((self.root.rstrip("/"), *parts)) if parts else self.root

    @_patiently
    def entries(self, *parts: str, temporary: bool = False) -> list[Entry]:
        """The files at any depth under `parts`, by path; empty where there is no such folder.
        Unfinished writes are listed only if `temporary`."""
        folder = self.path(*parts)
        with self._errors("listed", folder):
            found = list((self._local_entries if self.is_local else self._other_entries)(folder))
        return sorted(
            (entry for entry in found if temporary or not entry.is_temporary),
            key=lambda entry: entry.path,
        )

    def _local_entries(self, folder: str) -> Iterator[Entry]:
        try:
            self._check_inside(folder)
        except FileNotFoundError:
            return
        folders = [(folder, 0)]
        while folders:
            path, depth = folders.pop()
            if depth > MOST_DEPTH:
                raise OSError(f"folders lie more than {MOST_DEPTH} deep in each other")
            with suppress(FileNotFoundError), os.scandir(path) as inside:
                for item in inside:
                    if item.is_dir(follow_symlinks=False):
                        folders.append((item.path, depth + 1))
                        continue
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        info = item.stat(follow_symlinks=False)
                        yield Entry(item.path, info.st_size, info.st_mtime)

    def _other_entries(self, folder: str) -> Iterator[Entry]:
        selector = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        for info in self.filesystem.get_file_info(selector):
            if info.type == fs.FileType.File:
                yield Entry(info.path, info.size, info.mtime_ns / 1e9)

    def _check_inside(self, path: str, file: bool = False) -> None:
        """Raise DamagedFileError where something between the root and `path` is a symbolic link,
        or a `file` no plain one; FileNotFoundError if something is not there."""
        if not self.is_local:
            return
        parts = path.removeprefix(self.path("")).split("/") if path != self.root else []
        part = self.root
        for name in parts:
            part = f"{part}/{name}"
            mode = os.lstat(part).st_mode
            if stat.S_ISLNK(mode):
                raise DamagedFileError(f"{part}: is a symbolic link, and a store is only itself")
            if file and part == path and not stat.S_ISREG(mode):
                raise DamagedFileError(f"{path}: is no plain file")

    @_patiently
    def read(self, path: str, most: int = MOST_ARRAYS_BYTES) -> bytes:
        """All bytes of a file, at most so many. Raises FileNotFoundError if it has vanished,
        DamagedFileError if it has more, or the disk or its owner withholds it."""
        chunks: list[bytes] = []
        left = most
        with (
            self._errors("read", path, file=True),
            self.filesystem.open_input_stream(path, compression=None) as stream,
        ):
            while left >= 0 and (chunk := stream.read(min(_CHUNK_BYTES, left + 1))):
                chunks.append(chunk)
                left -= len(chunk)
        if left < 0:
            raise DamagedFileError(f"{path}: has more than the {most:,} bytes that it may have")
        return b"".join(chunks)

    @_patiently
    def open_input(self, path: str) -> pa.NativeFile:
        """A file open for random access. Raises FileNotFoundError if it has vanished."""
        with self._errors("read", path, file=True):
            return self.filesystem.open_input_file(path)

    @_patiently
    def sha256(self, path: str) -> str:
        """SHA-256 of a file in hexadecimal, read piece by piece."""
        digest = hashlib.sha256()
        with (
            self._errors("read", path, file=True),
            self.filesystem.open_input_stream(path, compression=None) as stream,
        ):
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def write(
        self, path: str, chunks: Iterable[bytes], check: Callable[[], None] = lambda: None
    ) -> None:
        """Create or replace a file; it is durable when this returns. `check` is called before each
        attempt, and may raise."""

        def attempt() -> None:
            check()
            self._write(path, chunks)

        if isinstance(chunks, Sequence):
            self._patience(attempt)
        else:  # what has been read once cannot be written again
            attempt()

    def _write(self, path: str, chunks: Iterable[bytes]) -> None:
        with self._errors("written", path, StoreError if self._written else StoreAddressError):
            try:
                if self.is_local:
                    self._write_local(path, chunks)
                else:
                    self._put(path, chunks)
            except FileNotFoundError as error:
                # The folder went away meanwhile: no vanished file, as it would be in a read.
                raise OSError(str(error)) from error
        self._written = True

    def _write_local(self, path: str, chunks: Iterable[bytes]) -> None:
        folder = Path(path).parent
        self._make_folder(folder)
        temporary = folder / f".{uuid4().hex}.tmp"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                for chunk in chunks:
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # what made the write fail is raised, not this
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(folder)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder durable with all above it up to the root, and beyond where missing."""
        with suppress(FileNotFoundError):
            self._check_inside(str(folder))
        if str(folder) in self._durable_folders and folder.is_dir():
            return
        root = Path(self.root)
        for part in (*reversed(folder.parents), folder):
            if root in part.parents or not part.exists():
                part.mkdir(exist_ok=True)
                _sync_folder(part.parent)
        self._durable_folders.add(str(folder))

    def _put(self, path: str, chunks: Iterable[bytes]) -> None:
        def put() -> None:
            with self.filesystem.open_output_stream(path, compression=None) as stream:
                for chunk in chunks:
                    stream.write(chunk)

        # Closing a stream stores what it holds, so a put that is cut short would store half a
        # file. Interrupts reach the main thread alone: in another one it runs to its end.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(put).result()

    @_patiently
    def exists(self, path: str) -> bool:
        """Whether there is a file at that path."""
        with self._errors("looked for", path):
            return bool(self.filesystem.get_file_info(path).type == fs.FileType.File)

    @_patiently
    def delete(self, path: str) -> bool:
        """Delete a file; False if there was none."""
        try:
            with self._errors("deleted", path):
                self._check_inside(path.rpartition("/")[0])
                self.filesystem.delete_file(path)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _errors(
        self, verb: str, path: str, kind: type[Exception] = StoreError, file: bool = False
    ) -> Iterator[None]:
        try:
            if file:
                self._check_inside(path, file)
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            if verb == "read":
                # S3 clients ask for the size first, and have many words for a file gone after.
                if not self.is_local and not self.exists(path):
                    raise FileNotFoundError(path) from error
                if getattr(error, "errno", None) in _UNREADABLE:
                    kind = DamagedFileError
            reason = " ".join(str(error).split())
            if getattr(error, "errno", None) in _FULL:
                reason += "; free some space there and give the same command again"
            raise kind(f"{path}: cannot be {verb}: {reason}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCABLE:
            raise
    finally:
        os.close(descriptor)
