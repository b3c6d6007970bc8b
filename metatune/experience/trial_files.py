"""Parquet files of trials: written once under a name that holds their hash, never changed."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import metatune
from metatune.errors import DamagedFileError, StoreError
from metatune.experience.files import Entry, Files
from metatune.experience.footer import footer_bytes, groups_of, texts_of
from metatune.experience.limits import MOST_GROUP_BYTES, MOST_UNPACKED_BYTES, MOST_UNPACKED_TIMES
from metatune.experience.pages import extent_of
from metatune.experience.records import SCHEMA
from metatune.experience.sealed import SCHEMA_VERSION, check_version
from metatune.experience.thrift import read_struct

ROW_GROUP_ROWS = 10_000
_NAME = re.compile(r"[0-9a-f]{32}-([0-9a-f]{16})\.parquet")
_WHOLE_BYTES = 16 << 20
_GROUP_BYTES = 32 << 20


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
            for piece in _pieces(table):
                writer.write_table(piece, row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata(
            {
                "metatune.schema": str(SCHEMA_VERSION),
                "metatune.writer": metatune.__version__,
                "metatune.replaces": json.dumps(list(replaces)),
            }
        )


def _pieces(table: pa.Table) -> Iterator[pa.Table]:
    """The same rows in tables of at most 32 MiB, or of one row."""
    if table.nbytes <= _GROUP_BYTES or len(table) == 1:
        yield table
        return
    half = len(table) // 2
    yield from _pieces(table.slice(0, half))
    yield from _pieces(table.slice(half))


class TrialFile:
    """A Parquet file of trials, open for reading: a context manager.

    Up to 16 MiB it is read whole and compared with the hash in its name; a larger one is read by
    row group and column, and compared by page checksums, unless all of it is checked on opening.
    What would unpack to more than `limits` allows is not unpacked. Raises FileNotFoundError if it
    has vanished, DamagedFileError or SchemaVersionError.
    """

    def __init__(self, files: Files, entry: Entry, check_all: bool = False) -> None:
        self.entry = entry
        self._files = files
        match = _NAME.fullmatch(entry.name)
        if match is None:
            raise DamagedFileError(f"{entry.path}: is no file that metatune wrote")
        self._unpacked = 0
        if entry.size <= _WHOLE_BYTES:
            data = files.read(entry.path, _WHOLE_BYTES)
            self._check_hash(match[1], hashlib.sha256(data).hexdigest())
            self._source: pa.NativeFile = pa.BufferReader(data)
        else:
            if check_all:
                self._check_hash(match[1], files.sha256(entry.path))
            self._source = files.open_input(entry.path)
        try:
            with self._read_errors():
                self._read_footer()
                self._parquet = self._open()
                self._check_schema()
        except BaseException:
            self._source.close()
            raise

    def _check_hash(self, expected: str, found: str) -> None:
        if not found.startswith(expected):
            raise DamagedFileError(f"{self.entry.path}: its content does not match its hash")

    def _read_footer(self) -> None:
        size = self._source.size()
        length = footer_bytes(self._source.read_at(8, max(0, size - 8)), size)
        footer, _ = read_struct(self._source.read_at(length, size - 8 - length), 0)
        texts = texts_of(footer)
        version = texts.get(b"metatune.schema", b"").decode("ascii", "replace")
        check_version(int(version) if version.isdecimal() else None, self.entry.path)
        replaces = json.loads(texts.get(b"metatune.replaces", b"[]"))
        if not isinstance(replaces, list) or not all(isinstance(name, str) for name in replaces):
            raise DamagedFileError(f"{self.entry.path}: names no files that it replaces")
        self.replaces: list[str] = replaces
        self._groups = groups_of(footer, size)

    def _open(self, read_dictionary: Sequence[str] = ()) -> pq.ParquetFile:
        return pq.ParquetFile(
            self._source,
            read_dictionary=read_dictionary,
            pre_buffer=False,
            page_checksum_verification=True,
        )

    def _check_schema(self) -> None:
        if not self._parquet.schema_arrow.equals(SCHEMA):
            raise DamagedFileError(f"{self.entry.path}: its columns are not those of trials")

    @contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, ValueError, RecursionError, MemoryError) as error:
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
        return [group.rows for group in self._groups]

    def group(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Some columns of one row group; what could unpack to too much is looked at first."""
        with self._read_errors():
            large = self._large_texts(index, columns)
            if not large:
                table = self._parquet.read_row_group(index, columns, use_threads=False)
            else:
                # As dictionaries they take no more memory than their pages.
                with self._open(large) as parquet:
                    table = parquet.read_row_group(index, columns, use_threads=False)
                self._check_size(index, sum(_text_bytes(table[name]) for name in large))
                table = table.cast(pa.schema([SCHEMA.field(name) for name in table.column_names]))
            self._check_size(index, table.nbytes)
        self._unpacked += table.nbytes
        limit = MOST_UNPACKED_BYTES + MOST_UNPACKED_TIMES * self.entry.size
        if self._unpacked > limit:
            raise DamagedFileError(
                f"{self.entry.path}: of {self.entry.size} bytes, unpacks to more than {limit}"
            )
        return table

    def _large_texts(self, index: int, columns: Sequence[str]) -> list[str]:
        """Columns of text whose dictionaries make them, in the worst case, too large as text.

        Raises ValueError where the others are too large for certain.
        """
        large = []
        total = 0
        for name in columns:
            chunk = self._groups[index].chunks[name]
            extent = extent_of(self._source.read_at(chunk.size, chunk.start), chunk.values)
            total += extent.dictionary_bytes + extent.plain_bytes + 8 * extent.values
            self._check_size(index, max(total, extent.largest_page))
            is_text = SCHEMA.field(name).type == pa.string()
            if is_text and extent.looked_up * extent.dictionary_bytes > MOST_GROUP_BYTES // 8:
                large.append(name)
        return large

    def _check_size(self, index: int, size: int) -> None:
        if size > MOST_GROUP_BYTES:
            raise ValueError(f"row group {index} unpacks to more than {MOST_GROUP_BYTES >> 20} MiB")

    def rows(
        self,
        columns: Sequence[str],
        study: str | None = None,
        digests: pa.Array | None = None,
        take: Callable[[int], None] = lambda size: None,
    ) -> pa.Table:
        """Some columns of all rows, or of those of one study, or with one of these digests.

        `take` is told the bytes of what is kept, and may raise.
        """
        tables = []
        for index in range(len(self.group_rows())):
            low, high = self._studies(index)
            if study is None or low <= study <= high:
                table = self.group(index, columns)
                if study is not None:
                    table = table.filter(pc.equal(table["study"], study))
                if digests is not None:
                    table = table.filter(pc.is_in(table["digest"], digests))
                take(table.nbytes)
                tables.append(table)
        return pa.concat_tables(tables) if tables else no_rows(columns)

    def _studies(self, group: int) -> tuple[str, str]:
        """The first and the last study by name that a row group can hold."""
        chunk = self._groups[group].chunks["study"]
        if chunk.low is None or chunk.high is None:
            return "", chr(sys.maxunicode)
        with self._read_errors():
            return chunk.low.decode(), chunk.high.decode()


def _text_bytes(column: pa.ChunkedArray) -> int:
    """How many bytes a column of dictionaries has as text."""
    return sum(
        pc.sum(pc.take(pc.binary_length(part.dictionary), part.indices)).as_py() or 0
        for part in column.chunks
    )


def no_rows(columns: Sequence[str]) -> pa.Table:
    """A table of these columns without rows."""
    return SCHEMA.empty_table().select(list(columns))
