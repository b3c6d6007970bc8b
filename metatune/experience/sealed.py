"""Sealed JSON records: small replaceable files that tell when they are not what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import metatune
from metatune.errors import DamagedFileError, SchemaVersionError
from metatune.experience.files import Files

SCHEMA_VERSION = 1


def to_json(value: Any, sort_keys: bool = False) -> str:
    """JSON text of plain values and mappings; raises TypeError naming what is neither."""
    return json.dumps(value, default=_mapping, sort_keys=sort_keys)


def _mapping(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is neither text, number, boolean, list nor mapping")


def seal(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record, with the version of its schema and a hash of all that."""
    content = {"schema": SCHEMA_VERSION, "writer": metatune.__version__, "record": record}
    text = to_json(content)
    return _document({**json.loads(text), "sha256": _sha256(text)})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _document(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def unseal(data: bytes, path: str) -> dict[str, Any]:
    """The record in `data`; raises DamagedFileError or SchemaVersionError naming `path`."""
    try:
        document = json.loads(data)
        content = dict(document)
        expected, version, record = content.pop("sha256"), content["schema"], content["record"]
    except (ValueError, KeyError, TypeError):
        raise DamagedFileError(f"{path}: is no record that metatune wrote") from None
    check_version(version, path)
    same = _sha256(to_json(content)) == expected and _document(document) == data
    if not same or not isinstance(record, dict):
        raise DamagedFileError(f"{path}: its content does not match its hash")
    return record


def check_version(version: Any, path: str) -> None:
    """Raise SchemaVersionError if a file was written by a newer metatune."""
    if not isinstance(version, int) or version < 1:
        raise DamagedFileError(f"{path}: schema version {version!r} never was")
    if version > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path}: its schema version {version} is newer than {SCHEMA_VERSION}, the newest "
            f"that metatune {metatune.__version__} reads; install a newer metatune"
        )


def read_record(files: Files, path: str) -> dict[str, Any]:
    """The record in a file. Raises FileNotFoundError, DamagedFileError or SchemaVersionError."""
    try:
        return unseal(files.read(path), path)
    except DamagedFileError:
        # S3 clients ask for the size first: a record replaced just then is read at its old size.
        return unseal(files.read(path), path)
