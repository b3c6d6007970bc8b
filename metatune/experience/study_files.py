"""Study records: one sealed JSON file a study."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from metatune.errors import DamagedFileError, SchemaVersionError, StudyError
from metatune.experience.files import Entry, Files, file_name
from metatune.experience.sealed import read_record, seal
from metatune.experience.trial_files import warn_of
from metatune.study import Study


def study_path(files: Files, name: str) -> str:
    """Where the record of a study is. Raises StudyError if no study can have that name."""
    return files.path("studies", f"{file_name(name)}.json")


def trial_folder(study: Study) -> tuple[str, str, str]:
    """Where the trials of a study are, under the root."""
    return ("trials", file_name(study.task.name, "task"), study.space.id)


def write_study(files: Files, study: Study) -> None:
    """Create or replace the record of a study; raises StudyError if it is no plain JSON."""
    path = study_path(files, study.name)
    try:
        data = seal(study.to_dict())
    except (TypeError, ValueError) as error:
        raise StudyError(f"study {study.name!r} cannot be stored: {error}") from None
    files.write(path, [data])


def read_study(files: Files, path: str) -> Study:
    """The study in a file. Raises FileNotFoundError, DamagedFileError, SchemaVersionError."""
    study = Study.from_dict(read_record(files, path), path)
    if path != study_path(files, study.name):
        raise DamagedFileError(f"{path}: holds study {study.name!r}, whose file has another name")
    return study


def read_studies(files: Files) -> list[Study]:
    """Every study by name; what cannot be read is left out with one ExperienceWarning."""

    def read(entry: Entry) -> Study | DamagedFileError | SchemaVersionError | None:
        try:
            return read_study(files, entry.path)
        except FileNotFoundError:
            return None
        except (DamagedFileError, SchemaVersionError) as error:
            return error

    with ThreadPoolExecutor(files.threads) as pool:
        found = list(pool.map(read, files.entries("studies")))
    errors = [error for error in found if isinstance(error, Exception)]
    warn_of(errors, len(found), stacklevel=4)
    return sorted(
        (study for study in found if isinstance(study, Study)), key=lambda study: study.name
    )
