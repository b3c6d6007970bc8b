"""Rows of CSV, JSON and Parquet files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatune.errors import DataError
from metatune.experience.choices import held_value
from metatune.experience.history.found import LeftOut
from metatune.experience.history.runs import parse_json
from metatune.parameters import Value

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

Row = dict[str, Value]
# Rows with where they stand, as a person would look for them, and those that cannot be read.
Rows = tuple[list[tuple[str, Row]], list[LeftOut]]
_DELIMITERS = ",;\t|"


def read_rows(path: Path) -> Rows:
    """The rows of a table, by its ending; empty cells and nulls are missing.

    JSON is a list of objects, or one object a line; objects in objects become names with dots,
    lists text. Raises DataError if the file as a whole cannot be read.
    """
    if path.suffix.lower() not in ENDINGS:
        raise DataError(f"{path}: ends in none of {', '.join(ENDINGS)}")
    try:
        rows, left_out = ENDINGS[path.suffix.lower()](path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not rows:
        why = f"; {left_out[0].what} {left_out[0].reason}" if left_out else ""
        raise DataError(f"{path}: has no rows{why}")
    return rows, left_out


def _read_csv(path: Path) -> Rows:
    csv.field_size_limit(1 << 24)
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(_DELIMITERS, key=first.count)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        header = [name.strip() for name in next(lines, [])]
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise DataError(
                f"{path}: two columns are called {twice!r}; give each a name of its own"
            )
        rows: list[tuple[str, Row]] = []
        left_out = []
        for where, cells in _cells(lines):
            if isinstance(cells, csv.Error):
                left_out.append(LeftOut(where, str(cells)))
            elif len(cells) == len(header):
                named = zip(header, cells, strict=True)
                rows.append((where, {n: cell for n, cell in named if n and cell.strip()}))
            elif cells:
                reason = f"has {len(cells)} cells, and the first line {len(header)}"
                left_out.append(LeftOut(where, reason))
    return rows, left_out


def _cells(lines: CsvReader) -> Iterator[tuple[str, list[str] | csv.Error]]:
    """The cells of each row, or what is wrong with it, after which the next line begins a row."""
    while True:
        first = lines.line_num + 1
        cells: list[str] | csv.Error
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            cells = error
        last = lines.line_num
        yield f"line {last}" if first >= last else f"lines {first} to {last}", cells


def _read_json(path: Path) -> Rows:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        try:
            return _objects({f"entry {i}": entry for i, entry in enumerate(parse_json(text), 1)})
        except ValueError as error:
            raise DataError(f"{path}: is no JSON: {error}") from None
    rows: dict[str, Any] = {}
    left_out = []
    for index, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows[f"line {index}"] = parse_json(line)
            except ValueError as error:
                left_out.append(LeftOut(f"line {index}", f"is no JSON: {error}"))
    found, others = _objects(rows)
    if not found and _is_object(text):
        raise DataError(f"{path}: is one object; there must be a list of objects, or one a line")
    return found, left_out + others


def _is_object(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except ValueError:
        return False


def _objects(entries: Mapping[str, Any]) -> Rows:
    rows, left_out = [], []
    for where, entry in entries.items():
        if isinstance(entry, dict):
            rows.append((where, _flat(entry)))
        else:
            left_out.append(LeftOut(where, "is no object with names and values"))
    return rows, left_out


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Row:
    row: Row = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            row |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            row[prefix + name] = _plain(value)
    return row


def _plain(value: Any) -> Value:
    if isinstance(value, str | int | float):
        return value
    return held_value(value) if isinstance(value, list) else str(value)


def _read_parquet(path: Path) -> Rows:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        entries = parquet.ParquetFile(path).read().to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{path}: is no Parquet: {' '.join(str(error).split())}") from None
    return _objects({f"row {index}": entry for index, entry in enumerate(entries, start=1)})


ENDINGS: Mapping[str, Callable[[Path], Rows]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".parquet": _read_parquet,
}
