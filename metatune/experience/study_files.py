"""Study records: one sealed JSON file a study."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from metatune.errors import DamagedFileError, InputError, SchemaVersionError, StudyError
from metatune.experience.files import Entry, Files, file_name
from metatune.experience.limits import MOST_RECORD_BYTES
from metatune.experience.reading import warn_of
from metatune.experience.sealed import read_parsed, seal, unseal
from metatune.study import Study


def study_path(files: Files, name: str) -> str:
    """Where the record of a study is. Raises StudyError if no study can have that name."""
    return files.path("studies", f"{file_name(name)}.json")


def trial_folder(study: Study) -> tuple[str, str, str]:
    """Where the trials of a study are, under the root."""
    return ("trials", file_name(study.task.name, "task"), study.space.id)


def write_study(files: Files, study: Study) -> None:
    """Create or replace the record of a study; raises StudyError if it is no plain JSON, or too
    large to be read again."""
    path = study_path(files, study.name)
    try:
        data = seal(study.to_dict())
    except (TypeError, ValueError, RecursionError) as error:
        raise StudyError(f"study {study.name!r} cannot be stored: {error}") from None
    if len(data) > MOST_RECORD_BYTES:
        raise StudyError(
            f"study {study.name!r} cannot be stored: its record has {len(data):,} bytes, with "
            f"{len(study.experience):,} studies that it knows, and at most {MOST_RECORD_BYTES:,} "
            f"are kept"
        )
    files.write(path, [data])


class Studies:
    """The records of studies. One that is the same, byte for byte, is not parsed again: stores of
    many studies are opened by reading them all, several times."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._parsed: dict[str, tuple[bytes, Study]] = {}

    def read(self, path: str) -> Study:
        """The study in a file. Raises FileNotFoundError, DamagedFileError, SchemaVersionError."""

        def parse(data: bytes) -> tuple[bytes, Study]:
            digest = hashlib.sha256(data).digest()
            known = self._parsed.get(path)
            if known is not None and known[0] == digest:
                return known
            return digest, _study(self._files, unseal(data, path), path)

        self._parsed[path] = read_parsed(self._files, path, parse)
        return self._parsed[path][1]

    def read_all(self) -> list[Study]:
        """Every study by name; what cannot be read is left out with one ExperienceWarning."""

        def read(entry: Entry) -> Study | DamagedFileError | SchemaVersionError | None:
            try:
                return self.read(entry.path)
            except FileNotFoundError:
                return None
            except (DamagedFileError, SchemaVersionError) as error:
                return error

        with ThreadPoolExecutor(self._files.threads) as pool:
            found = list(pool.map(read, self._files.entries("studies")))
        errors = [error for error in found if isinstance(error, Exception)]
        warn_of(errors, len(found), stacklevel=4)
        return sorted(
            (study for study in found if isinstance(study, Study)), key=lambda study: study.name
        )


def read_study(files: Files, path: str) -> Study:
    """The study in a file. Raises FileNotFoundError, DamagedFileError, SchemaVersionError."""
    return Studies(files).read(path)


def _study(files: Files, record: Mapping[str, Any], path: str) -> Study:
    try:
        _check_types(record)
        study = Study.from_dict(record, path)
        its_path = study_path(files, study.name)
    except (InputError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DamagedFileError(f"{path}: is no record of a study: {reason}") from None
    if path != its_path:
        raise DamagedFileError(f"{path}: holds study {study.name!r}, whose file has another name")
    return study


def _check_types(record: Mapping[str, Any]) -> None:
    """Raise TypeError naming a field that is not what a study has there."""
    for field in ("name", "optimizer", "pruner", "part_of"):
        _check(field, record.get(field, ""), str)
    for field in ("seed", "trials"):
        _check(field, record.get(field, 0), int)
    _check("model", record.get("model"), (str, type(None)))
    for field, kind in (("experience", int), ("aliases", str), ("versions", str)):
        _check_values(field, record.get(field, {}), kind)
    _check("training", record.get("training", {}), dict)
    task = record["task"]
    _check("task", task, dict)
    for field in ("name", "metric", "direction", "measure", "data_hash", "description"):
        _check(f"task.{field}", task.get(field, ""), str)
    _check_values("task.metafeatures", task.get("metafeatures", {}), (int, float))
    _check("space", record["space"], dict)


def _check(field: str, value: Any, kind: Any) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{field} = {str(value)[:40]!r} cannot be that")


def _check_values(field: str, mapping: Any, kind: Any) -> None:
    _check(field, mapping, dict)
    for found in {*map(type, mapping.values())}:
        if not issubclass(found, kind):
            raise TypeError(f"{field}: {str(mapping)[:80]!r} holds what cannot be there")
