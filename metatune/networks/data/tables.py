"""Tables: what a data file or a built-in data set holds, before anything is cleaned.

A column is an array [n] of numbers (NaN where missing; booleans count 0 and 1, dates in days since
1970) or a `Text` column. A table holds feature columns, images, signals or documents, and one or
more target columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from metatune.errors import DataError

Kind = Literal["classification", "regression"]
Form = Literal["columns", "images", "signals", "documents"]
Rows = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]

LARGEST = 1e150  # beyond it, squares overflow
_ROWS = 1024  # of images or signals that are looked at in one go


@dataclass(frozen=True)
class Text:
    """A column of text: `codes` [n] are positions in `labels`, -1 where missing. Labels are
    distinct and sorted."""

    codes: npt.NDArray[np.int64]
    labels: tuple[str, ...]


Column = Numbers | Text


@dataclass(frozen=True)
class Table:
    """Feature `columns`, `images` [n, channels, height, width], `signals` [n, channels, length] or
    `documents`, and the `targets` columns.

    `source` names the table in errors, `kind` is what it is known to be for, if that is known;
    `notes` tells what reading it left out. `test` are the rows that whoever made the data set apart
    to test on, ascending; None where nobody did.
    """

    source: str
    columns: Mapping[str, Column]
    targets: Mapping[str, Column]
    images: Numbers | None = None
    kind: Kind | None = None
    notes: tuple[str, ...] = ()
    signals: Numbers | None = None
    documents: Text | None = None
    test: Rows | None = None

    def __post_init__(self) -> None:
        if self.form == "columns" and not self.columns:
            raise DataError(f"{self.source}: there is no column but the target {self.target!r}")
        if self.rows == 0:
            raise DataError(f"{self.source}: there are no rows")

    @property
    def form(self) -> Form:
        """What the features are."""
        if self.images is not None:
            return "images"
        if self.signals is not None:
            return "signals"
        return "columns" if self.documents is None else "documents"

    @property
    def target(self) -> str:
        """The names of the target columns, as one word in messages."""
        return ", ".join(self.targets)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return length(next(iter(self.targets.values())))

    def take(self, rows: Rows, note: str) -> Table:
        """The table of these rows, with a note of why."""
        return replace(
            self,
            columns={name: _take(column, rows) for name, column in self.columns.items()},
            targets={name: _take(column, rows) for name, column in self.targets.items()},
            images=None if self.images is None else self.images[rows],
            notes=(*self.notes, note),
            signals=None if self.signals is None else self.signals[rows],
            documents=None if self.documents is None else _take_text(self.documents, rows),
            test=None if self.test is None else np.flatnonzero(np.isin(rows, self.test)),
        )

    def digest(self) -> str:
        """SHA-256 of names and values in the order they stand: the same for the same values,
        whatever file type, number width or process they come from."""
        digest = hashlib.sha256()
        for role, columns in (("feature", self.columns), ("target", self.targets)):
            for name, column in columns.items():
                digest.update(f"{role} {name!r} {_kind(column)}".encode())
                _update(digest, column)
        for form, values in (("images", self.images), ("signals", self.signals)):
            if values is not None:
                digest.update(f"{form} {values.shape}".encode())
                for part in _parts(values):
                    digest.update(np.ascontiguousarray(part, dtype="<f4").tobytes())
        if self.documents is not None:
            digest.update(f"documents {_kind(self.documents)}".encode())
            _update(digest, self.documents)
        if self.test is not None:
            digest.update(b"test")
            _update(digest, self.test)
        return digest.hexdigest()


def _parts(values: Numbers) -> Iterator[Numbers]:
    return (values[start : start + _ROWS] for start in range(0, len(values), _ROWS))


def _take(column: Column, rows: Rows) -> Column:
    return _take_text(column, rows) if isinstance(column, Text) else column[rows]


def _take_text(column: Text, rows: Rows) -> Text:
    return Text(column.codes[rows], column.labels)


def length(column: Column) -> int:
    """Number of rows of a column."""
    return len(column.codes) if isinstance(column, Text) else len(column)


def missing(column: Column) -> npt.NDArray[np.bool_]:
    """Where a column is missing, not finite or beyond `LARGEST`: [n]."""
    if isinstance(column, Text):
        return column.codes < 0
    return ~(np.abs(column, dtype=np.float64) <= LARGEST)


def text(values: npt.NDArray[Any]) -> Text:
    """The text column of an array of strings; empty strings are missing."""
    found, codes = np.unique(values, return_inverse=True)
    labels = [str(label) for label in found]
    if labels and labels[0] == "":
        return Text(codes.astype(np.int64) - 1, tuple(labels[1:]))
    return Text(codes.astype(np.int64), tuple(labels))


def _kind(column: Column) -> str:
    return repr(column.labels) if isinstance(column, Text) else "numbers"


def _update(digest: Any, column: Column) -> None:
    if isinstance(column, Text):
        digest.update(np.ascontiguousarray(column.codes, dtype="<i8").tobytes())
        return
    values = np.asarray(column, dtype="<f8") + 0.0  # + 0.0: one zero
    values[np.isnan(values)] = np.nan  # one NaN
    digest.update(values.tobytes())


def check_target(names: Collection[str], target: str, source: object) -> None:
    """Raise DataError, naming the `source`, if the target is none of the columns `names`."""
    if target not in names:
        shown = ", ".join(repr(name) for name in list(names)[:10])
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        raise DataError(
            f"{source}: there is no target column {target!r}; the columns are {shown}{more}"
        )
