"""Tables: what a data file or a built-in data set holds, before anything is cleaned.

A column is an array [n] of numbers (NaN where missing; booleans count 0 and 1, dates in days since
1970) or a `Text` column. A table holds feature columns or images, and one or more target columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from metatune.errors import DataError

Kind = Literal["classification", "regression"]
Rows = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]

LARGEST = 1e150  # beyond it, squares overflow


@dataclass(frozen=True)
class Text:
    """A column of text: `codes` [n] are positions in `labels`, -1 where missing. Labels are
    distinct and sorted."""

    codes: npt.NDArray[np.int64]
    labels: tuple[str, ...]


Column = Numbers | Text


@dataclass(frozen=True)
class Table:
    """Feature `columns` or `images` [n, channels, height, width], and the `targets` columns.

    `source` names the table in errors, `kind` is what it is known to be for, if that is known;
    `notes` tells what reading it left out.
    """

    source: str
    columns: Mapping[str, Column]
    targets: Mapping[str, Column]
    images: Numbers | None = None
    kind: Kind | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images is None and not self.columns:
            raise DataError(f"{self.source}: there is no column but the target {self.target!r}")
        if self.rows == 0:
            raise DataError(f"{self.source}: there are no rows")

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
        )

    def digest(self) -> str:
        """SHA-256 of names and values in the order they stand: the same for the same values,
        whatever file type, number width or process they come from."""
        digest = hashlib.sha256()
        for role, columns in (("feature", self.columns), ("target", self.targets)):
            for name, column in columns.items():
                digest.update(f"{role} {name!r} {_kind(column)}".encode())
                _update(digest, column)
        if self.images is not None:
            digest.update(f"images {self.images.shape}".encode())
            digest.update(np.ascontiguousarray(self.images, dtype="<f4").tobytes())
        return digest.hexdigest()


def _take(column: Column, rows: Rows) -> Column:
    if isinstance(column, Text):
        return Text(column.codes[rows], column.labels)
    return column[rows]


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
