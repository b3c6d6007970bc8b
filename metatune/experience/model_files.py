"""Fitted models: arrays in a safetensors file, and beside it a sealed record that vouches for it.

Both are named by a hash of what is in them. A model is there from the moment its record is, which
is written last.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from metatune.errors import DamagedFileError, SchemaVersionError, StoreError
from metatune.experience.files import Entry, Files
from metatune.experience.limits import MOST_ARRAYS_BYTES, MOST_ARRAYS_HEADER_BYTES
from metatune.experience.reading import warn_of
from metatune.experience.sealed import read_record, seal, to_json

Arrays = dict[str, npt.NDArray[Any]]
_NAME = re.compile(r"([0-9a-f]{32})\.(json|safetensors)")
_ID = re.compile("[0-9a-f]{32}")


def write_model(
    files: Files, space_id: str, record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> str:
    """Put a model in the store, unless it is there; its id. Raises StoreError for a record that
    is no plain JSON."""
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    if len(data) > MOST_ARRAYS_BYTES:
        raise StoreError(
            f"a model for space {space_id} cannot be stored: its arrays have {len(data):,} bytes, "
            f"and at most {MOST_ARRAYS_BYTES:,} are kept"
        )
    try:
        sealed = seal({"arrays": hashlib.sha256(data).hexdigest(), "model": record})
        model = _id(record, data)
    except (TypeError, ValueError) as error:
        raise StoreError(f"a model for space {space_id} cannot be stored: {error}") from None
    path = _path(files, space_id, model)
    files.write(f"{path}.safetensors", [data])
    files.write(f"{path}.json", [sealed])
    return model


def read_model(files: Files, space_id: str, model: str) -> tuple[dict[str, Any], Arrays]:
    """Record and arrays of a model.

    Raises StoreError if it is not there, DamagedFileError or SchemaVersionError if it cannot be
    used.
    """
    if not _ID.fullmatch(model):
        raise StoreError(f"model {model!r} of space {space_id}: there is no model of such a name")
    path = _path(files, space_id, model)
    try:
        return _read(files, path, model)
    except FileNotFoundError:
        raise StoreError(f"{path}.json: there is no such model") from None


def _read(files: Files, path: str, model: str) -> tuple[dict[str, Any], Arrays]:
    document = _document(files, f"{path}.json")
    try:
        data = files.read(f"{path}.safetensors", MOST_ARRAYS_BYTES)
    except FileNotFoundError:
        raise DamagedFileError(
            f"{path}.safetensors: is missing, though its record is not"
        ) from None
    record = document["model"]
    is_whole = hashlib.sha256(data).hexdigest() == document["arrays"]
    if not is_whole or _id(record, data) != model:
        raise DamagedFileError(f"{path}.safetensors: its content does not match its hash")
    return record, _arrays(data, f"{path}.safetensors")


def _arrays(data: bytes, path: str) -> Arrays:
    if int.from_bytes(data[:8], "little") > MOST_ARRAYS_HEADER_BYTES:
        raise DamagedFileError(f"{path}: has more to say of its arrays than it may")
    try:
        return load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        # Types that NumPy lacks are KeyErrors.
        raise DamagedFileError(f"{path}: cannot be read: {error}") from error


def read_models(files: Files, space_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Id and record of every model for a space, in the order of being written; records that
    cannot be read are left out with one ExperienceWarning."""
    entries = [e for e in files.entries("models", space_id) if e.name.endswith(".json")]
    models, errors = [], []
    for entry in sorted(entries, key=lambda entry: (entry.modified, entry.name)):
        try:
            models.append((entry.name.removesuffix(".json"), _document(files, entry.path)["model"]))
        except FileNotFoundError:
            continue
        except (DamagedFileError, SchemaVersionError) as error:
            errors.append(error)
    # Even where all are of a newer metatune, there is something else to do: fit one.
    warn_of(errors, len(entries) + 1, stacklevel=4)
    return models


def check_model_file(files: Files, entry: Entry) -> None:
    """Raise FileNotFoundError, DamagedFileError or SchemaVersionError if a file is not what was
    written; arrays are checked with their record, and are no damage without one."""
    match = _NAME.fullmatch(entry.name)
    if match is None:
        raise DamagedFileError(f"{entry.path}: is no file that metatune wrote")
    if match[2] == "json":
        _read(files, entry.path.removesuffix(".json"), match[1])


def _document(files: Files, path: str) -> dict[str, Any]:
    document = read_record(files, path)
    if not (isinstance(document.get("model"), dict) and isinstance(document.get("arrays"), str)):
        raise DamagedFileError(f"{path}: is no record of a model")
    return document


def _id(record: Mapping[str, Any], data: bytes) -> str:
    return hashlib.sha256(to_json(record).encode() + b"\0" + data).hexdigest()[:32]


def _path(files: Files, space_id: str, model: str) -> str:
    return files.path("models", space_id, model)
