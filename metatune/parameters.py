"""Parameters: what one hyperparameter may be, and on which scale."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from metatune.errors import ConfigurationError, SpaceError

Value = str | int | float | bool | None
Vectors = npt.NDArray[np.float64]

# Floats are drawn on a grid of this many significant digits, far coarser than rounding error, so
# that decoding an encoded value gives it back exactly.
_DIGITS = 12
LARGEST_INTEGER = 10**12  # farther from 0, neighbours would share a position in [0, 1]


@dataclass(frozen=True)
class Float:
    """A real number in [low, high], uniform on a linear or logarithmic scale.

    Raises SpaceError unless the ends and their distance are finite.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for key in ("low", "high"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SpaceError(f"{key} = {value!r} must be a number")
            if not abs(value) <= sys.float_info.max:
                raise SpaceError(f"{key} = {value!r} must be finite")
            object.__setattr__(self, key, float(value))
        _check_range(self.low, self.high, self.log, least=0.0)
        if not math.isfinite(self.high - self.low):
            raise SpaceError(f"high - low = {self.high - self.low!r} must be finite")

    def contains(self, value: Value) -> bool:
        """Whether `value` is a number in [low, high]."""
        return is_number(value) and self.low <= value <= self.high

    def to_unit(self, value: Value) -> float:
        """Position of `value` in [0, 1]: 0 at `low`, 1 at `high`."""
        if not is_number(value) or not self.contains(value):
            raise ConfigurationError(f"{value!r} is not in {self}")
        low, width = self._edges
        return min(max((self._scaled(value) - low) / width, 0.0), 1.0)

    def from_unit(self, u: float) -> float:
        """Value at position `u` in [0, 1]; the inverse of `to_unit` up to 12 digits."""
        _check_unit(u)
        if u in (0.0, 1.0):
            return self.low if u == 0.0 else self.high
        low, width = self._edges
        at = low + u * width
        value = float(f"{math.exp(at):.{_DIGITS}g}") if self.log else round(at, self._decimals)
        place = (self._scaled(value) - low) / width  # an end may share that of `value`
        if place <= 0.0 or place >= 1.0:
            return self.low if place <= 0.0 else self.high
        return value

    @cached_property
    def _edges(self) -> tuple[float, float]:
        low = self._scaled(self.low)
        return low, self._scaled(self.high) - low

    @cached_property
    def _decimals(self) -> int:
        return _DIGITS - math.ceil(math.log10(max(abs(self.low), abs(self.high))))

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high]; each owns a cell of [0, 1], equal or logarithmic in width.

    Raises SpaceError for ends beyond LARGEST_INTEGER, up to which encoding is exact.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for key in ("low", "high"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int):
                raise SpaceError(f"{key} = {value!r} must be a whole number")
            if abs(value) > LARGEST_INTEGER:
                raise SpaceError(f"{key} = {value!r} must lie within 10**12 of 0, to be exact")
        _check_range(self.low, self.high, self.log, least=0)

    def contains(self, value: Value) -> bool:
        """Whether `value` is a whole number in [low, high]."""
        return is_number(value) and not isinstance(value, float) and self.low <= value <= self.high

    def to_unit(self, value: Value) -> float:
        """Centre of the cell of `value` (on a log scale: its logarithm's place) in [0, 1]."""
        if not is_number(value) or not self.contains(value):
            raise ConfigurationError(f"{value!r} is not in {self}")
        low, width = self._edges
        return float((self._scaled(value) - low) / width)

    def from_unit(self, u: float) -> int:
        """The whole number whose cell holds `u` in [0, 1]."""
        _check_unit(u)
        low, width = self._edges
        at = low + u * width
        return min(max(round(float(np.exp(at)) if self.log else at), self.low), self.high)

    def cells(self, u: Vectors) -> Vectors:
        """`from_unit` of a whole array, as whole numbers in float64."""
        low, width = self._edges
        at = low + u * width
        value: Vectors = np.clip(np.rint(np.exp(at) if self.log else at), self.low, self.high)
        return value

    @cached_property
    def _edges(self) -> tuple[float, float]:
        low = self._scaled(self.low - 0.5)
        return low, self._scaled(self.high + 0.5) - low

    def _scaled(self, value: float) -> float:
        return float(np.log(value)) if self.log else float(value)


@dataclass(frozen=True)
class Categorical:
    """One of `choices` (strings, numbers, booleans or None); `ordered` if their order means more
    or less of something. Each choice owns an equal cell of [0, 1]."""

    choices: tuple[Value, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.choices, str) or not isinstance(self.choices, Sequence):
            raise SpaceError(f"choices = {self.choices!r} must be a list")
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices:
            raise SpaceError("choices = [] must hold at least one value")
        for choice in self.choices:
            if not isinstance(choice, str | int | float | bool | None):
                raise SpaceError(f"choice {choice!r} must be a string, number or boolean")
            if isinstance(choice, float) and not math.isfinite(choice):
                raise SpaceError(f"choice {choice!r} must be finite")
        if len({repr(choice) for choice in self.choices}) < len(self.choices):
            raise SpaceError(f"choices = {list(self.choices)!r} must be distinct")

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the choices, of the same type."""
        return any(same(value, choice) for choice in self.choices)

    def to_unit(self, value: Value) -> float:
        """Centre of the cell of `value` in [0, 1]."""
        for index, choice in enumerate(self.choices):
            if same(value, choice):
                return (index + 0.5) / len(self.choices)
        raise ConfigurationError(f"{value!r} is not one of {list(self.choices)!r}")

    def from_unit(self, u: float) -> Value:
        """The choice whose cell holds `u` in [0, 1]."""
        _check_unit(u)
        return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]

    def cells(self, u: Vectors) -> Vectors:
        """Index of the chosen value for a whole array, in float64."""
        count = len(self.choices)
        index: Vectors = np.clip(np.floor(u * count), 0, count - 1)
        return index


Parameter = Float | Integer | Categorical


def same(a: Value, b: Value) -> bool:
    """Whether two values are equal and of one type: True is not 1, and 1 is not 1.0."""
    return type(a) is type(b) and a == b


def is_number(value: Value) -> TypeGuard[int | float]:
    """Whether a value is a number and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_range(low: float, high: float, log: bool, least: float) -> None:
    if low >= high:
        raise SpaceError(f"low = {low!r} must be below high = {high!r}")
    if log and low <= least:
        raise SpaceError(f"low = {low!r} must be above 0 on a log scale")


def _check_unit(u: float) -> None:
    if not 0.0 <= u <= 1.0:
        raise ConfigurationError(f"{u!r} is not in [0, 1]")
