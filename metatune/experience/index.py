"""The index of a store: how many finished trials of which study each merged file holds.

A store of many past tasks is opened without looking into their files, each of which is merged,
alone in its folder and never changes. Compaction writes the index; nothing depends on it: what it
does not say is read, and without it everything is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from metatune.errors import DamagedFileError, ExperienceWarning, SchemaVersionError
from metatune.experience.files import Entry, Files
from metatune.experience.limits import MOST_RECORD_BYTES
from metatune.experience.sealed import read_record, seal

FILE = "index.json"
# For the path under the root of each merged file: how many finished trials each study has.
Index = dict[str, dict[str, int]]


def read_index(files: Files) -> Index:
    """The index of a store, empty if it has none; one that is damaged, or of a newer metatune, is
    told of (ExperienceWarning) and not used."""
    path = files.path(FILE)
    try:
        index = read_record(files, path)
        check_index(index, path)
    except FileNotFoundError:
        return {}
    except (DamagedFileError, SchemaVersionError) as error:
        message = f"the index is not used: {error}; it is made again when the store is compacted"
        warnings.warn(message, ExperienceWarning, stacklevel=4)
        return {}
    return index


def check_index(index: Mapping[str, object], path: str) -> None:
    """Raise DamagedFileError if a record is no index."""
    for counts in index.values():
        if not isinstance(counts, dict) or not all(type(n) is int for n in counts.values()):
            raise DamagedFileError(f"{path}: is no index of a store")


def write_index(files: Files, index: Index) -> None:
    """Replace the index, unless it is the same; one that would be too large to read is not
    written, and what it would say is read from the files."""
    data = seal(dict(sorted(index.items())))
    if len(data) <= MOST_RECORD_BYTES:
        files.write(files.path(FILE), [data])


def indexed(index: Index, entries: Iterable[Entry], files: Files) -> dict[str, dict[str, int]]:
    """What the index says of each folder, by path, that has but one file among `entries`."""
    known = {}
    for folder, group in groupby(entries, key=lambda entry: entry.folder):
        paths = [entry.path.removeprefix(files.path("")) for entry in group]
        if len(paths) == 1 and paths[0] in index:
            known[folder] = index[paths[0]]
    return known


def finished(rows: pa.Table) -> dict[str, int]:
    """How many finished trials each study has among rows that hold, by their `finished_index`;
    studies with none are left out."""
    rows = rows.filter(pc.is_valid(rows["finished_index"]))
    last = rows.group_by("study").aggregate([("finished_index", "max")]).to_pylist()
    return {row["study"]: row["finished_index_max"] + 1 for row in last}
