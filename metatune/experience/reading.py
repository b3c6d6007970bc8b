"""Rows of many files of trials, and the trials they make; damaged files are named and left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import pyarrow as pa

from metatune.errors import DamagedFileError, ExperienceWarning, SchemaVersionError, StoreError
from metatune.experience.files import Entry, Files
from metatune.experience.limits import MOST_READ_BYTES
from metatune.experience.records import KEYS, SCHEMA, check_json, check_rows, newest, to_trials
from metatune.experience.trial_files import TrialFile, no_rows
from metatune.trial import Trial

_LISTINGS = 10
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Found:
    """Rows of `count` files, of which those with `errors` are left out."""

    rows: pa.Table
    errors: list[Exception]
    count: int


class _Room:
    """What one read may still take into memory."""

    def __init__(self) -> None:
        self._left = MOST_READ_BYTES
        self._lock = Lock()

    def take(self, size: int, path: str) -> None:
        """Raise StoreError naming the file at which there is no room left."""
        with self._lock:
            self._left -= size
            if self._left < 0:
                raise StoreError(
                    f"{path}: with it a read takes more than {MOST_READ_BYTES >> 30} GiB; ask for "
                    f"one study or one task, or for fewer columns"
                )


def find_rows(
    files: Files,
    list_entries: Callable[[], list[Entry]],
    columns: Sequence[str],
    study: str | None = None,
    digests: pa.Array | None = None,
    check_each: bool = False,
) -> Found:
    """Some columns of all rows in the files that `list_entries` lists, of those of one study, or
    of those with one of some digests.

    Where a file vanishes, compacted away between listing and reading, files are listed again. With
    `check_each` files whose rows make no trials are damaged too; without, DamagedFileError is
    raised where values of some row cannot be those of a trial. Raises StoreError where it is all
    more than `limits.MOST_READ_BYTES`.
    """
    room = _Room()

    def read(entry: Entry) -> pa.Table | DamagedFileError | SchemaVersionError | None:
        try:
            with TrialFile(files, entry) as file:
                rows = file.rows(columns, study, digests, lambda size: room.take(size, entry.path))
            return checked(rows, entry.path) if check_each else rows
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
    rows = pa.concat_tables([no_rows(columns), *tables]).combine_chunks()
    check_rows(rows)
    return Found(rows, errors, len(found))


def checked(table: pa.Table, path: str) -> pa.Table:
    """The same table; raises DamagedFileError naming `path` where its rows make no trials."""
    try:
        check_rows(table)
        check_json(table)
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: {error}") from None
    return table


def check_trial_file(
    files: Files, entry: Entry, columns: Sequence[str] = ()
) -> tuple[pa.Table, list[int], list[str]]:
    """Some columns of all rows of a file, how many rows each row group has, and the names of the
    files that it replaces. All bytes of it are read and all rows checked, a row group at a time.

    Raises FileNotFoundError, DamagedFileError or SchemaVersionError if it is not what was written.
    """
    with TrialFile(files, entry, check_all=True) as file:
        rows = file.group_rows()
        groups = [
            checked(file.group(index, SCHEMA.names), entry.path).select(list(columns))
            for index in range(len(rows))
        ]
        return pa.concat_tables([no_rows(columns), *groups]), rows, file.replaces


def read_rows(
    files: Files,
    list_entries: Callable[[], list[Entry]],
    columns: Sequence[str],
    others: int,
    stacklevel: int,
) -> pa.Table:
    """The rows that `find_rows` finds and that hold: of every trial the last revision.

    Damaged files are left out with one ExperienceWarning. Raises SchemaVersionError if every file
    was written by a newer metatune, and there are no `others` that need not be read.
    """
    found = checked_if_damaged(
        lambda check: find_rows(files, list_entries, columns, check_each=check)
    )
    warn_of(found.errors, found.count + others, stacklevel + 1)
    return holding(found.rows)


def read_trials(
    files: Files,
    list_entries: Callable[[], list[Entry]],
    columns: Sequence[str],
    study: str | None,
    keep: Callable[[pa.Table], pa.Table],
    stacklevel: int,
) -> list[Trial]:
    """The trials of what `keep` keeps of such rows, of one study where it is given."""

    def read(check: bool) -> tuple[Found, list[Trial]]:
        found = find_rows(files, list_entries, columns, study, check_each=check)
        return found, to_trials(keep(holding(found.rows)))

    found, trials = checked_if_damaged(read)
    warn_of(found.errors, found.count, stacklevel + 1)
    return trials


def checked_if_damaged(read: Callable[[bool], _Answer]) -> _Answer:
    """What `read` gives: at first without a look at the values in each file, which takes long for
    many small ones; once more with it where some turn out to make no trials."""
    try:
        return read(False)
    except DamagedFileError:
        return read(True)


def holding(rows: pa.Table) -> pa.Table:
    """The rows that hold: of every trial the last revision, whatever its state."""
    return rows.filter(pa.array(newest(rows.select(list(KEYS)))))


def warn_of(errors: Sequence[Exception], count: int, stacklevel: int) -> None:
    """Warn once that some of `count` files are left out; raise if all are of a newer metatune."""
    if not errors:
        return
    if len(errors) == count and all(isinstance(error, SchemaVersionError) for error in errors):
        raise errors[0]
    reasons = "; ".join(str(error) for error in errors)
    message = f"{len(errors)} of {count} files left out: {reasons}"
    warnings.warn(message, ExperienceWarning, stacklevel)
