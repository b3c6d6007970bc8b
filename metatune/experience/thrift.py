"""Thrift's compact protocol, as far as Parquet has it, without believing what is said of sizes.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

_MOST_NESTED = 12


def read_struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields of a struct by number, and where it ends.

    Integers, booleans, bytes, lists and structs as such; doubles as None. Raises ValueError if
    there is none.
    """
    if depth > _MOST_NESTED:
        raise ValueError("its metadata is nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    try:
        while header := data[at]:
            kind, delta = header & 15, header >> 4
            at += 1
            if delta:
                number += delta
            else:
                number, at = _integer(data, at)
            if 4 <= kind <= 6:
                fields[number], at = _integer(data, at)
            elif kind <= 2:
                fields[number] = kind == 1
            else:
                fields[number], at = _value(data, at, kind, depth)
    except IndexError:
        raise ValueError("its metadata ends too early") from None
    return fields, at + 1


def _integer(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), at + 1
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError("its metadata has a number of more than 64 bits")
    return value | byte << shift, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """A value of that type, and where it ends."""
    if 4 <= kind <= 6:
        return _integer(data, at)
    if kind == 8:
        length, at = _varint(data, at)
        if length > len(data) - at:
            raise IndexError
        return data[at : at + length], at + length
    if kind == 12:
        return read_struct(data, at, depth + 1)
    if kind == 9:
        return _list(data, at, depth)
    if kind in (1, 2, 3):  # booleans in lists, and bytes
        return data[at], at + 1
    if kind == 7:
        return None, at + 8
    raise ValueError(f"its metadata has a value of type {kind}")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    count, kind = data[at] >> 4, data[at] & 15
    at += 1
    if count == 15:
        count, at = _varint(data, at)
    if count > len(data) - at:
        raise IndexError
    values = []
    for _ in range(count):
        value, at = _value(data, at, kind, depth + 1)
        values.append(value)
    return values, at
