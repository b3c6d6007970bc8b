"""Parquet files of trials: written once under a name that holds their hash, never changed."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import metatune
from metatune.errors import DamagedFileError, ExperienceWarning, SchemaVersionError, StoreError
from metatune.experience.files import Entry, Files
from metatune.experience.records import SCHEMA
from metatune.experience.sealed import SCHEMA_VERSION, check_version

ROW_GROUP_ROWS = 10_000
_NAME = re.compile(r"[0-9a-f]{32}-([0-9a-f]{16})\.parquet")
_WHOLE_BYTES = 16 << 20
_LISTINGS = 10


def trial_file_name(sha256: str) -> str:
    """A name that no other file has, for content with that hash (hexadecimal)."""
    return f"{uuid4().hex}-{sha256[:16]}.parquet"


def encode(table: pa.Table) -> tuple[str, bytes]:
    """Name and content of a file of these rows."""
    sink = pa.BufferOutputStream()
    # Few rows: neither compression nor dictionaries pay, and they would double the time.
    write_parquet(sink, [table], compression="none", use_dictionary=False)
    data = sink.getvalue().to_pybytes()
    return trial_file_name(hashlib.sha256(data).hexdigest()), data


def write_parquet(
    sink: Any, tables: Iterable[pa.Table], replaces: Sequence[str] = (), **options: Any
) -> None:
    """Write each of the tables as one row group or more; `replaces` names the files of the same
    folder whose rows these are."""
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        store_schema=False,
        write_page_checksum=True,
        write_statistics=["study", "number"],
        **options,
    ) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata(
            {
                "metatune.schema": str(SCHEMA_VERSION),
                "metatune.writer": metatune.__version__,
                "metatune.replaces": json.dumps(list(replaces)),
            }
        )


class TrialFile:
    """A Parquet file of trials, open for reading: a context manager.

    Up to 16 MiB it is read whole and compared with the hash in its name; a larger one is read by
    row group and column, and compared by page checksums, unless all of it is checked on opening.
    Raises FileNotFoundError if it has vanished, DamagedFileError or SchemaVersionError.
    """

    def __init__(self, files: Files, entry: Entry, check_all: bool = False) -> None:
        self.entry = entry
        self._files = files
        match = _NAME.fullmatch(entry.name)
        if match is None:
            raise DamagedFileError(f"{entry.path}: is no file that metatune wrote")
        if entry.size <= _WHOLE_BYTES:
            data = files.read(entry.path)
            self._check_hash(match[1], hashlib.sha256(data).hexdigest())
            source = pa.BufferReader(data)
        else:
            if check_all:
                self._check_hash(match[1], files.sha256(entry.path))
            source = files.open_input(entry.path)
        with self._read_errors():
            self._parquet = pq.ParquetFile(source, page_checksum_verification=True)
        try:
            with self._read_errors():
                self._check_schema()
        except BaseException:
            self._parquet.close(force=True)
            raise

    def _check_hash(self, expected: str, found: str) -> None:
        if not found.startswith(expected):
            raise DamagedFileError(f"{self.entry.path}: its content does not match its hash")

    def _check_schema(self) -> None:
        metadata = self._parquet.metadata.metadata or {}
        version = metadata.get(b"metatune.schema", b"").decode("ascii", "replace")
        check_version(int(version) if version.isdecimal() else None, self.entry.path)
        if not self._parquet.schema_arrow.equals(SCHEMA):
            raise DamagedFileError(f"{self.entry.path}: its columns are not those of trials")
        self.replaces: list[str] = json.loads(metadata.get(b"metatune.replaces", b"[]"))

    @contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, ValueError) as error:
            reason = " ".join(str(error).split())
            if "AWS Error" not in reason:
                raise DamagedFileError(f"{self.entry.path}: cannot be read: {reason}") from error
            if not self._files.exists(self.entry.path):
                raise FileNotFoundError(self.entry.path) from error
            raise StoreError(f"{self.entry.path}: cannot be read: {reason}") from error

    def __enter__(self) -> TrialFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._parquet.close(force=True)

    def group_rows(self) -> list[int]:
        """How many rows each row group has."""
        metadata = self._parquet.metadata
        return [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]

    def group(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one row group."""
        with self._read_errors():
            return self._parquet.read_row_group(index, columns, use_threads=False)

    def rows(
        self,
        columns: Sequence[str],
        study: str | None = None,
        digests: pa.Array | None = None,
    ) -> pa.Table:
        """Some columns of all rows, or of those of one study, or with one of these digests."""
        tables = []
        for index in range(len(self.group_rows())):
            low, high = self._studies(index)
            if study is None or low <= study <= high:
                table = self.group(index, columns)
                if study is not None and not low == study == high:
                    table = table.filter(pc.equal(table["study"], study))
                if digests is not None:
                    table = table.filter(pc.is_in(table["digest"], digests))
                tables.append(table)
        return pa.concat_tables(tables) if tables else _no_rows(columns)

    def _studies(self, group: int) -> tuple[str, str]:
        """The first and the last study by name that a row group can hold."""
        column = self._parquet.metadata.row_group(group).column(SCHEMA.get_field_index("study"))
        bounds = column.statistics
        if bounds is None or not bounds.has_min_max:
            return "", chr(sys.maxunicode)
        return bounds.min, bounds.max


def _no_rows(columns: Sequence[str]) -> pa.Table:
    return SCHEMA.empty_table().select(list(columns))


@dataclass(frozen=True)
class Found:
    """Rows of `count` files, of which those with `errors` are left out."""

    rows: pa.Table
    errors: list[Exception]
    count: int


def find_rows(
    files: Files,
    list_entries: Callable[[], list[Entry]],
    columns: Sequence[str],
    study: str | None = None,
    digests: pa.Array | None = None,
) -> Found:
    """Some columns of all rows in the files that `list_entries` lists, of those of one study, or
    of those with one of some digests.

    Where a file vanishes, compacted away between listing and reading, files are listed again.
    """

    def read(entry: Entry) -> pa.Table | DamagedFileError | SchemaVersionError | None:
        try:
            with TrialFile(files, entry) as file:
                return file.rows(columns, study, digests)
        except FileNotFoundError:
            return None
        except (DamagedFileError, SchemaVersionError) as error:
            return error

    found: dict[str, Any] = {}
    with ThreadPoolExecutor(files.threads) as pool:
        for _ in range(_LISTINGS):
            entries = [entry for entry in list_entries() if entry.path not in found]
            results = list(pool.map(read, entries))
            found |= {
                entry.path: result
                for entry, result in zip(entries, results, strict=True)
                if result is not None
            }
            if all(result is not None for result in results):
                break
    tables = [result for result in found.values() if isinstance(result, pa.Table)]
    errors = [error for error in found.values() if isinstance(error, Exception)]
    rows = pa.concat_tables([_no_rows(columns), *tables]).combine_chunks()
    return Found(rows, errors, len(found))


def read_rows(
    files: Files,
    list_entries: Callable[[], list[Entry]],
    columns: Sequence[str],
    study: str | None = None,
) -> pa.Table:
    """The rows that `find_rows` finds.

    Damaged files are left out with one ExperienceWarning. Raises SchemaVersionError if every file
    was written by a newer metatune.
    """
    found = find_rows(files, list_entries, columns, study)
    warn_of(found.errors, found.count, stacklevel=5)
    return found.rows


def warn_of(errors: Sequence[Exception], count: int, stacklevel: int) -> None:
    """Warn once that some of `count` files are left out; raise if all are of a newer metatune."""
    if not errors:
        return
    if len(errors) == count and all(isinstance(error, SchemaVersionError) for error in errors):
        raise errors[0]
    reasons = "; ".join(str(error) for error in errors)
    message = f"{len(errors)} of {count} files left out: {reasons}"
    warnings.warn(message, ExperienceWarning, stacklevel)
