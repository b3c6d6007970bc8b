"""The footer of a Parquet file of trials: where its columns are, and what is said of the file.

It is read here before Arrow does, which takes the process with it where some of a column's metadata
contradict each other. https://github.com/apache/parquet-format, `FileMetaData` in parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metatune.experience.limits import MOST_FOOTER_BYTES, MOST_GROUP_BYTES, MOST_GROUP_ROWS
from metatune.experience.records import LEAVES

_MAGIC = b"PAR1"
# How metatune compresses: not at all, or with zstd.
_CODECS = (0, 6)


@dataclass(frozen=True)
class Chunk:
    """A column in a row group: bytes from `start`, how many values they should hold, and the first
    and last of them, where that is said."""

    start: int
    size: int
    values: int
    low: bytes | None
    high: bytes | None


@dataclass(frozen=True)
class Group:
    """A row group: how many rows it has, and its columns by the name of the field."""

    rows: int
    chunks: Mapping[str, Chunk]


def footer_bytes(end: bytes, size: int) -> int:
    """How many bytes before the last 8 of a file, `end`, its footer has; ValueError if too many."""
    length = int.from_bytes(end[:4], "little")
    if len(end) != 8 or end[4:] != _MAGIC or length > min(MOST_FOOTER_BYTES, size - 8):
        raise ValueError(f"it does not end in metadata of at most {MOST_FOOTER_BYTES} bytes")
    return length


def texts_of(footer: Mapping[int, Any]) -> dict[bytes, bytes]:
    """The texts kept with a file, by key."""
    pairs = _list(footer.get(5, []))
    return {
        pair[1]: pair[2]
        for pair in pairs
        if isinstance(pair.get(1), bytes) and isinstance(pair.get(2), bytes)
    }


def groups_of(footer: Mapping[int, Any], size: int) -> list[Group]:
    """The row groups of a file of `size` bytes; raises ValueError where they are none of trials."""
    return [_group(group, size) for group in _list(footer.get(4))]


def _list(value: Any) -> list[dict[int, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("its metadata lacks a list")
    return value


def _group(fields: dict[int, Any], size: int) -> Group:
    rows, columns = fields.get(3), _list(fields.get(1))
    if not isinstance(rows, int) or not 0 <= rows <= MOST_GROUP_ROWS:
        raise ValueError(f"a row group has {rows} rows")
    if len(columns) != len(LEAVES):
        raise ValueError(f"a row group has {len(columns)} columns")
    return Group(
        rows,
        {
            leaf.partition(".")[0]: _chunk(column, leaf, rows, size)
            for leaf, column in zip(LEAVES, columns, strict=True)
        },
    )


def _chunk(fields: dict[int, Any], leaf: str, rows: int, size: int) -> Chunk:
    """A column that must be there in full, in this file, and packed as metatune does."""
    meta = fields.get(3)
    if not isinstance(meta, dict) or 1 in fields or 8 in fields:
        raise ValueError(f"its {leaf} is not in this file")
    path = meta.get(3)
    if path != [part.encode() for part in leaf.split(".")] or meta.get(4) not in _CODECS:
        raise ValueError(f"its {leaf} is packed as metatune does not")
    values, length, start, first = (meta.get(number) for number in (5, 7, 9, 11))
    if isinstance(first, int) and isinstance(start, int) and 0 < first < start:
        start = first  # of the dictionary, which stands before the values
    if not (isinstance(values, int) and isinstance(length, int) and isinstance(start, int)):
        raise ValueError(f"its {leaf} has no place")
    if start < 0 or not 0 <= length <= min(size - start, MOST_GROUP_BYTES):
        raise ValueError(f"its {leaf} reaches beyond the file, or is too large")
    if values < rows or (values > rows and not LEAVES[leaf]):
        raise ValueError(f"its {leaf} has {values} values in {rows} rows")
    said = meta.get(12)
    low, high = (said.get(6), said.get(5)) if isinstance(said, dict) else (None, None)
    is_said = isinstance(low, bytes) and isinstance(high, bytes)
    return Chunk(start, length, values, low if is_said else None, high if is_said else None)
