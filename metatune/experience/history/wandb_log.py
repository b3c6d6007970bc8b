"""The binary log of a W&B run (run-*.wandb), read without W&B.

The file is one of LevelDB's logs (github.com/google/leveldb, doc/log_format.md) behind a header of
7 bytes, which counts as part of the first block. Blocks have 32 KiB; a record in them is a CRC-32
(of its type and data, zlib's), a length and a type, little-endian, then its data; what does not fit
into a block is cut into first, middle and last. The data are messages `Record` of W&B's protocol
buffers (wandb_internal.proto), of which the few fields below are read and the others passed over.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from metatune.errors import DataError
from metatune.experience.history.runs import as_number, is_whole, parse_json
from metatune.task import Direction

_FILE_HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_HEADER = struct.Struct("<IHB")
_BLOCK = 32 * 1024
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_RECORD = 256 << 20  # bytes; W&B itself sends none above 200 MB
_GOALS: dict[int, Direction] = {1: "minimize", 2: "maximize"}

_Path = tuple[str, ...]


@dataclass
class Log:
    """What a run logged: `config` and `summary` by path, `history` as (step, {path: number}).

    `exit_code` is None where the run did not say that it ended. `goals` are the directions of
    metrics that were given one, `truncated` where the log breaks off in the middle of a record.
    """

    run_id: str = ""
    entity: str = ""
    project: str = ""
    name: str = ""
    config: dict[_Path, Any] = field(default_factory=dict)
    summary: dict[_Path, Any] = field(default_factory=dict)
    history: list[tuple[int, dict[_Path, Any]]] = field(default_factory=list)
    goals: dict[str, Direction] = field(default_factory=dict)
    exit_code: int | None = None
    truncated: int | None = None


class _Truncated(Exception):
    """The file ends in the middle of a record that began at a byte."""

    def __init__(self, at: int) -> None:
        self.at = at


def is_log(file: BinaryIO) -> bool:
    """Whether a file begins as a log does."""
    return file.read(len(_FILE_HEADER)) == _FILE_HEADER


def read_log(file: BinaryIO) -> Log:
    """What a log says, up to where it breaks off; raises DataError naming the byte at which
    something else than a log stands."""
    log = Log()
    if not is_log(file):
        raise DataError("byte 0: this is no W&B log")
    try:
        for at, data in _records(file):
            try:
                _take(log, data)
            except (ValueError, LookupError, struct.error) as error:
                raise DataError(f"byte {at}: no W&B record: {error}") from None
    except _Truncated as end:
        log.truncated = end.at
    return log


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where each record begins, and its data."""
    parts: list[bytes] = []
    began = size = 0
    for at, kind, data in _fragments(file):
        if (kind in (_MIDDLE, _LAST)) != bool(parts):
            raise DataError(f"byte {at}: a part of a record without the others")
        if not parts:
            began, size = at, 0
        parts.append(data)
        size += len(data)
        if size > _MAX_RECORD:
            raise DataError(f"byte {began}: a record of more than {_MAX_RECORD} bytes")
        if kind in (_FULL, _LAST):
            yield began, b"".join(parts)
            parts = []
    if parts:
        raise _Truncated(began)


def _fragments(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    at = len(_FILE_HEADER)
    while True:
        left = _BLOCK - at % _BLOCK
        if left < _HEADER.size:
            file.read(left)  # too short for a header, so it was left empty
            at += left
            continue
        header = file.read(_HEADER.size)
        if not header:
            return
        if len(header) < _HEADER.size:
            raise _Truncated(at)
        checksum, length, kind = _HEADER.unpack(header)
        if length > left - _HEADER.size or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            raise DataError(f"byte {at}: no record of type {kind} and {length} bytes")
        data = file.read(length)
        if len(data) < length:
            raise _Truncated(at)
        if zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
            raise DataError(f"byte {at}: the checksum of {length} bytes does not match")
        yield at, kind, data
        at += _HEADER.size + length


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields: integers as they are on the wire, else bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} of field {number}")
        if length > len(data) - at:
            raise ValueError(f"field {number} of {length} bytes where {len(data) - at} are left")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, 7 in each byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number does not end")


def _messages(data: bytes, number: int) -> Iterator[bytes]:
    for field_number, value in _fields(data):
        if field_number == number and isinstance(value, bytes):
            yield value


def _text(data: bytes, number: int) -> str:
    """A text, empty where it is not there."""
    texts = [*_messages(data, number)]
    return texts[-1].decode("utf-8") if texts else ""


def _whole(data: bytes, number: int) -> int:
    """A signed integer, 0 where it is not there."""
    value = 0
    for field_number, found in _fields(data):
        if field_number == number and isinstance(found, int):
            value = found - (1 << 64) if found >> 63 else found
    return value


def _take(log: Log, data: bytes) -> None:
    """Take one Record in."""
    for number, value in _fields(data):
        if number in _TAKE and isinstance(value, bytes):
            _TAKE[number](log, value)


def _take_run(log: Log, data: bytes) -> None:
    log.run_id = _text(data, 1) or log.run_id
    log.entity = _text(data, 2) or log.entity
    log.project = _text(data, 3) or log.project
    log.name = _text(data, 8) or log.name
    for config in _messages(data, 4):
        _take_config(log, config)
    for summary in _messages(data, 5):
        _take_summary(log, summary)


def _take_config(log: Log, data: bytes) -> None:
    _update(log.config, data)


def _take_summary(log: Log, data: bytes) -> None:
    _update(log.summary, data)


def _take_history(log: Log, data: bytes) -> None:
    items = [_item(item) for item in _messages(data, 1)]
    # Texts and the descriptions of pictures and histograms can be large, and are of no use.
    values = {path: value for path, value in items if as_number(value) is not None}
    steps = [_whole(step, 1) for step in _messages(data, 2)]
    logged = values.get(("_step",))
    step = steps[-1] if steps else logged if is_whole(logged) else len(log.history)
    log.history.append((step, values))


def _take_metric(log: Log, data: bytes) -> None:
    goal = _GOALS.get(_whole(data, 8))
    if goal:
        log.goals[_text(data, 1)] = goal


def _take_exit(log: Log, data: bytes) -> None:
    log.exit_code = _whole(data, 1)


# Fields of Record, by their numbers.
_TAKE: dict[int, Callable[[Log, bytes], None]] = {
    2: _take_history,
    3: _take_summary,
    5: _take_config,
    12: _take_metric,
    17: _take_run,
    18: _take_exit,
}


def _update(values: dict[_Path, Any], data: bytes) -> None:
    """Apply a ConfigRecord or SummaryRecord: updates (field 1) and removals (field 2)."""
    for item in _messages(data, 1):
        path, value = _item(item)
        if path not in values:
            _remove(values, path)
        values[path] = value
    for item in _messages(data, 2):
        _remove(values, _item(item)[0])


def _remove(values: dict[_Path, Any], path: _Path) -> None:
    """Remove what is at a path and below it."""
    for key in [key for key in values if key[: len(path)] == path]:
        del values[key]


def _item(data: bytes) -> tuple[_Path, Any]:
    """Path and value of a ConfigItem, SummaryItem or HistoryItem."""
    key, nested, value = "", [], None
    for number, found in _fields(data):
        if isinstance(found, int):
            if number == 5:
                value = found >> 1 ^ -(found & 1)  # zigzag
        elif number == 1:
            key = found.decode("utf-8")
        elif number == 2:
            nested.append(found.decode("utf-8"))
        elif number == 6:
            (value,) = struct.unpack("<d", found)
        elif number == 16:
            value = parse_json(found)
    return tuple(nested) or (key,), value
