"""Sealed JSON records: small replaceable files that tell when they are not what was written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import metatune
from metatune.errors import DamagedFileError, SchemaVersionError
from metatune.experience.files import Files
from metatune.experience.limits import MOST_RECORD_BYTES

Parsed = TypeVar("Parsed")
SCHEMA_VERSION = 1
_BREAK = re.compile(rb"\n *")


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


def _is_plain(document: Any, data: bytes) -> bool:
    """Whether `data` is what `_document` makes, but for line breaks and spaces after them: no text
    in JSON holds a break. Writing it once more would take ten times as long."""
    return _BREAK.sub(b"", data) == json.dumps(document, separators=(",", ": ")).encode()


def unseal(data: bytes, path: str) -> dict[str, Any]:
    """The record in `data`; raises DamagedFileError or SchemaVersionError naming `path`."""
    try:
        document = json.loads(data)
        content = dict(document)
        expected, version, record = content.pop("sha256"), content["schema"], content["record"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamagedFileError(f"{path}: is no record that metatune wrote") from None
    check_version(version, path)
    same = _sha256(to_json(content)) == expected and _is_plain(document, data)
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
    return read_parsed(files, path, lambda data: unseal(data, path))


def read_parsed(files: Files, path: str, parse: Callable[[bytes], Parsed]) -> Parsed:
    """What `parse` makes of the bytes of a record; raises what it does, and FileNotFoundError."""
    try:
        return parse(files.read(path, MOST_RECORD_BYTES))
    except DamagedFileError:
        # S3 clients ask for the size first: a record replaced just then is read at its old size.
        return parse(files.read(path, MOST_RECORD_BYTES))
