"""Compaction: many small files of trials become one, and no reader or writer need stop for it.

A merged file names those that it replaces. It is written first; what it replaces is deleted when
it is older than a grace time, in which readers that have listed the old files can read them.
Every row that holds is at all times in some file, whatever is interrupted and however many
compactions run at once.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import IO, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metatune.errors import DamagedFileError, SchemaVersionError, StoreAddressError, StoreError
from metatune.experience.files import STORE_FOLDERS, Entry, Files
from metatune.experience.index import Index, finished, indexed, read_index, write_index
from metatune.experience.limits import MOST_MERGED_BYTES, MOST_MERGED_FILES, MOST_MERGED_ROWS
from metatune.experience.reading import check_trial_file, holding
from metatune.experience.records import KEYS, SCHEMA, newest
from metatune.experience.trial_files import (
    ROW_GROUP_ROWS,
    TrialFile,
    trial_file_name,
    write_parquet,
)

_LIGHT = (*KEYS, "finished_index")
_TEMPORARY_SECONDS = 3600.0
_GROUP_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Compaction:
    """What a compaction did: numbers of files, and bytes of all files of trials."""

    files_merged: int
    files_written: int
    files_deleted: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class _Source:
    """A readable file: keys and `finished_index` of its rows, in its order, and the sizes of its
    row groups."""

    entry: Entry
    keys: pa.Table
    groups: list[int]
    replaces: list[str]


def compact(files: Files, grace_seconds: float) -> Compaction:
    """Merge the files of each folder of trials into one, and delete what has been merged for
    `grace_seconds`. Damaged files are left alone. Unfinished writes an hour old are deleted, and
    the index is made again.

    Memory holds the keys of one folder's rows, and some row groups; a folder with more than
    `limits` has for one file is merged in part. A folder whose only file is in the index is not
    read. A grace shorter than a reader takes to list the store can hide rows from that reader.
    """
    now = time.time()
    for folder in STORE_FOLDERS:
        for entry in files.entries(folder, temporary=True):
            if entry.is_temporary and now - entry.modified > _TEMPORARY_SECONDS:
                files.delete(entry.path)
    before = files.entries("trials")
    old = read_index(files)
    known = indexed(old, before, files)
    index: Index = {}
    work = _Work(files, index, now - grace_seconds, grace_seconds <= 0)
    with ThreadPoolExecutor(files.threads) as work.pool:
        for folder, group in groupby(before, key=lambda entry: entry.folder):
            if folder in known:
                index[work.name(next(group).path)] = known[folder]
            else:
                work.compact(list(group))
    if index != old:
        write_index(files, index)
    return Compaction(
        files_merged=work.merged,
        files_written=work.written,
        files_deleted=work.deleted,
        bytes_before=sum(entry.size for entry in before),
        bytes_after=sum(entry.size for entry in files.entries("trials")),
    )


@dataclass
class _Work:
    """What a compaction has done, folder by folder, and what its index says."""

    files: Files
    index: Index
    before: float
    delete_at_once: bool
    pool: ThreadPoolExecutor = field(init=False)
    merged: int = 0
    written: int = 0
    deleted: int = 0

    def name(self, path: str) -> str:
        """What the index calls a file."""
        return path.removeprefix(self.files.path(""))

    def compact(self, entries: list[Entry]) -> None:
        """Compact the files of a folder."""
        files = self.files
        # Merged ones are the largest, and tell which of the others are.
        entries = sorted(entries, key=lambda entry: (-entry.size, entry.name))[:MOST_MERGED_FILES]
        read = _ahead(self.pool, partial(_source, files), entries, files.threads)
        live, due = _plan([source for source in read if source is not None], self.before)
        some = _mergeable(live)
        path = live[0].entry.path if len(live) == 1 else None
        if len(some) > 1 and (path := _merge(files, self.pool, some)) is not None:
            self.merged += len(some)
            self.written += 1
            if self.delete_at_once:
                due += some
        if path is not None and len(some) == len(live):
            keys = pa.concat_tables(source.keys for source in live)
            self.index[self.name(path)] = finished(holding(keys))
        self.deleted += sum(self.pool.map(files.delete, (source.entry.path for source in due)))


def _plan(sources: list[_Source], before: float) -> tuple[list[_Source], list[_Source]]:
    """Those that no other replaces, and those that one written before that time replaces."""
    by_name = {source.entry.name: source for source in sources}
    replaced: set[str] = set()
    due: set[str] = set()
    for source in sources:
        names = _replaced(source, by_name)
        replaced |= names
        if source.entry.modified <= before:
            due |= names
    return (
        [source for source in sources if source.entry.name not in replaced],
        [source for source in sources if source.entry.name in due],
    )


def _replaced(source: _Source, by_name: Mapping[str, _Source]) -> set[str]:
    """Which of the files that a file says it replaces it does replace: whose every row it has, or
    a later revision. It is not believed, for these are deleted."""
    others = [by_name[name] for name in {*source.replaces} & {*by_name} - {source.entry.name}]
    if not others:
        return set()
    keys = pa.concat_tables([source.keys, *(other.keys for other in others)])
    lost = (
        newest(keys.select(list(KEYS)))
        & pc.invert(pc.is_in(keys["digest"], source.keys["digest"].combine_chunks())).to_numpy()
    )
    ends = np.cumsum([len(source.keys), *(len(other.keys) for other in others)])
    parts = np.split(lost, ends[:-1])[1:]
    return {other.entry.name for other, part in zip(others, parts, strict=True) if not part.any()}


def _mergeable(live: list[_Source]) -> list[_Source]:
    """The smallest of them, as many as one file may be made of."""
    some: list[_Source] = []
    rows = size = 0
    for source in sorted(live, key=lambda source: (len(source.keys), source.entry.name)):
        rows, size = rows + len(source.keys), size + source.entry.size
        if rows > MOST_MERGED_ROWS or size > MOST_MERGED_BYTES:
            break
        some.append(source)
    return some


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Iterable[_In], count: int
) -> Iterator[_Out]:
    """`function` of each item in order, computed by the pool `count` items ahead of the reader."""
    waiting: deque[Future[_Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _source(files: Files, entry: Entry) -> _Source | None:
    try:
        return _Source(entry, *check_trial_file(files, entry, _LIGHT))
    except (FileNotFoundError, DamagedFileError, SchemaVersionError):
        return None  # reads and verify() name what is damaged; here it is only left alone


def _merge(files: Files, pool: ThreadPoolExecutor, sources: list[_Source]) -> str | None:
    """Write one file of the rows that hold among the sources; its path, or None if one of them was
    taken away meanwhile, by another compaction then."""
    # Rows of one study stand together, so that readers of one study can skip row groups.
    sources = sorted(sources, key=_first_key)
    replaces = sorted(source.entry.name for source in sources)
    folder = sources[0].entry.folder
    with tempfile.TemporaryFile() as temporary:
        try:
            tables = _grouped(_rows(files, pool, sources, _masks(sources)))
            write_parquet(temporary, tables, replaces, compression="zstd")
        except (FileNotFoundError, DamagedFileError):
            return None
        except OSError as error:
            raise StoreError(f"{folder}: no room to merge its files: {error}") from error
        path = f"{folder}/{trial_file_name(_hash(temporary))}"
        try:
            files.write(path, _chunks(temporary))
        except (StoreError, StoreAddressError):
            with suppress(StoreError):  # what made the write fail is raised, not this
                files.delete(path)
            raise
    return path


def _first_key(source: _Source) -> tuple[str, int, str]:
    if not len(source.keys):
        return ("", 0, source.entry.name)
    return (source.keys["study"][0].as_py(), source.keys["number"][0].as_py(), source.entry.name)


def _masks(sources: list[_Source]) -> list[npt.NDArray[np.bool_]]:
    """Which rows of each source hold among those of all sources."""
    mask = newest(pa.concat_tables(source.keys for source in sources).select(list(KEYS)))
    return np.split(mask, np.cumsum([len(source.keys) for source in sources])[:-1])


def _rows(
    files: Files,
    pool: ThreadPoolExecutor,
    sources: list[_Source],
    masks: list[npt.NDArray[np.bool_]],
) -> Iterator[pa.Table]:
    def read(item: tuple[Entry, int, npt.NDArray[np.bool_]]) -> pa.Table:
        entry, index, mask = item
        with TrialFile(files, entry) as file:
            return file.group(index, SCHEMA.names).filter(pa.array(mask))

    items = (
        (source.entry, index, group_mask)
        for source, mask in zip(sources, masks, strict=True)
        for index, group_mask in enumerate(np.split(mask, np.cumsum(source.groups)[:-1]))
        if group_mask.any()
    )
    return _ahead(pool, read, items, files.threads)


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of about the size of a row group."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        held.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if rows >= ROW_GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.concat_tables(held).combine_chunks()
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _hash(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
    return digest.hexdigest()
