"""Durations, sizes and amounts as they stand on a command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from metatune.errors import InputError

T = TypeVar("T")

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {
    **{"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
    **{"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40},
}
_DECIMAL = r"[0-9]+(?:\.[0-9]+)?"


def of_option(name: str, read: Callable[[str], T]) -> Callable[[str], T]:
    """`read`, with the name of the option in what it raises."""

    def named(text: str) -> T:
        try:
            return read(text)
        except InputError as error:
            raise InputError(f"{name} {text!r} {error}") from None

    return named


def duration(text: str) -> float:
    """Seconds of a duration such as `90s`, `30m`, `2h`, `1d`, `1h30m`, or of a number of them."""
    if (seconds := _number(text)) is not None:
        return seconds
    if re.fullmatch(rf"(?:{_DECIMAL}[smhd])+", text) is None:
        raise InputError("must be like 90s, 30m, 2h, 1d, 1h30m, or 600 for seconds")
    parts = re.findall(rf"({_DECIMAL})([smhd])", text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def size(text: str) -> float:
    """Bytes of a size such as `500MB`, `2GB` (2e9), `2GiB` (2 * 2**30), or of a number of them."""
    if (count := _number(text)) is not None:
        return count
    found = re.fullmatch(rf"({_DECIMAL}) ?([A-Za-z]+)", text)
    if found is None or found[2] not in _BYTES:
        raise InputError("must be like 500MB, 2GB, 2GiB, or 2000000000 for bytes")
    return float(found[1]) * _BYTES[found[2]]


def amounts(text: str) -> dict[str, float]:
    """Amounts by name, such as `CPU=2,GPU=0.5`; that of `memory` is a size."""
    found: dict[str, float] = {}
    for pair in text.split(","):
        name, _, amount = (part.strip() for part in pair.partition("="))
        number = size(amount) if name == "memory" else _number(amount)
        if not name or number is None or name in found:
            raise InputError("must be like CPU=2,GPU=0.5, with each name once")
        found[name] = number
    return found


def label(text: str) -> tuple[str, str]:
    """A name and a value such as `zone=a`, `zone=!a`, `zone=in(a,b)`."""
    name, _, value = (part.strip() for part in text.partition("="))
    if not name or not value:
        raise InputError("must be like zone=a, zone=!a or zone=in(a,b)")
    return name, value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
