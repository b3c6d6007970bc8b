"""Values that a source kept as text: numbers, booleans and None among them."""

from __future__ import annotations

import math
import re

from metatune.parameters import Value

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)")
_PADDED = re.compile(r"[+-]?0\d+")  # with zeros in front, as ids are written
_WORDS: dict[str, Value] = {"true": True, "false": False, "none": None, "null": None}
_MOST_DIGITS = 300


def parsed(value: Value) -> Value:
    """What a text stands for, and other values as they are.

    `16` is a whole number, `1e-3` a float, `True` and `false` are booleans, `None` and `null` are
    None; `nan` and `inf` are floats. Whatever else a text says, it stays.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if "_" in text or not text.isascii() or len(text) > _MOST_DIGITS or _PADDED.fullmatch(text):
        return value  # Python takes 1_000 for a number, the tools that write these do not
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return value


def number(value: Value) -> float | None:
    """The number that a value is or that its text stands for, NaN included; None for no number."""
    read = parsed(value)
    if isinstance(read, bool) or not isinstance(read, int | float):
        return None
    try:
        return float(read)
    except OverflowError:
        return math.copysign(math.inf, read)


def is_missing(value: Value) -> bool:
    """Whether a value is NaN, which tables write where there is none, or an empty text."""
    read = parsed(value)
    return read == "" or (isinstance(read, float) and math.isnan(read))
