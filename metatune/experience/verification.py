"""Verification: which files of a store are not what was written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from metatune.errors import DamagedFileError, InputError, SchemaVersionError
from metatune.experience.files import STORE_FOLDERS, Entry, Files
from metatune.experience.index import FILE as INDEX
from metatune.experience.index import check_index
from metatune.experience.model_files import check_model_file
from metatune.experience.reading import check_trial_file
from metatune.experience.sealed import read_record
from metatune.experience.study_files import read_study


@dataclass(frozen=True)
class Damage:
    """A file that cannot be used, and why."""

    path: str
    reason: str


def verify(files: Files) -> list[Damage]:
    """Every file under the store's own folders that is not what was written, by path.

    All bytes of all of them are read. Unfinished writes are no damage, and files that vanish
    meanwhile neither.
    """
    entries = [entry for folder in STORE_FOLDERS for entry in files.entries(folder)]
    if files.exists(files.path(INDEX)):
        entries.append(Entry(files.path(INDEX), 0, 0.0))
    with ThreadPoolExecutor(files.threads) as pool:
        found = pool.map(lambda entry: _damage(files, entry), entries)
        return sorted(filter(None, found), key=lambda damage: damage.path)


def _damage(files: Files, entry: Entry) -> Damage | None:
    try:
        _check(files, entry)
    except FileNotFoundError:
        return None
    except (DamagedFileError, SchemaVersionError, InputError) as error:
        return Damage(entry.path, str(error).removeprefix(f"{entry.path}: "))
    return None


def _check(files: Files, entry: Entry) -> None:
    if entry.path == files.path(INDEX):
        check_index(read_record(files, entry.path), entry.path)
        return
    folder, *parts = entry.path.removeprefix(files.path("")).split("/")
    if folder == "trials" and len(parts) == 3:
        check_trial_file(files, entry)
    elif folder == "studies" and len(parts) == 1:
        read_study(files, entry.path)
    elif folder == "models" and len(parts) == 2:
        check_model_file(files, entry)
    elif folder == "leases" and len(parts) == 2:
        read_record(files, entry.path)
    else:
        raise DamagedFileError(f"{entry.path}: is no file that metatune wrote")
