"""Ranges and scales of numbers, from the values that were tried."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from metatune.errors import SpaceError
from metatune.parameters import Float, Integer

Numbers = npt.NDArray[np.float64]

# Within this ratio of largest to smallest, the two scales hardly differ.
_ALIKE_RATIO = 2.0
# A value is small up to this share of the largest, and too many are small if that is rarer.
_SMALL = 0.01
_RARE = 0.001
# Values this few, tried on average at least twice each, are a grid: its ends were chosen.
_MOST_GRID = 10
_ROUND = (1.0, 2.0, 5.0, 10.0)
# Parts that a linear range is rounded to.
_PARTS = 10


def number_range(values: Sequence[float], whole: bool) -> tuple[Float | Integer, str]:
    """The parameter that numbers of at least two different values were drawn from, and why.

    The scale is as `is_logarithmic` says. The ends are the smallest and the largest value, rounded
    outward to 1, 2 or 5 times a power of ten on a logarithmic scale, and to a tenth of the range
    on a linear one; those of a grid stay as they are. Raises SpaceError where they cannot be ends.
    """
    distinct = np.unique(np.asarray(values, dtype=np.float64))
    log, why = is_logarithmic(distinct)
    low, high = float(distinct[0]), float(distinct[-1])
    if _is_grid(distinct, len(values)):
        return _parameter(low, high, log, whole), f"{why}; a grid of {len(distinct)} values"
    try:
        found = _parameter(*_rounded(low, high, log, whole), log, whole)
        if found.low <= low and high <= found.high:
            return found, f"{why}; tried from {low:.6g} to {high:.6g}"
    except (SpaceError, OverflowError, ValueError):
        pass  # at the limits of floats: the values themselves are the ends
    return _parameter(low, high, log, whole), f"{why}; tried from {low:.6g} to {high:.6g}"


def is_logarithmic(distinct: Numbers) -> tuple[bool, str]:
    """Whether distinct values [n] in order, n > 1, are of a logarithmic scale, and why.

    They are where they lie more evenly between their ends on that scale: where the mean squared
    distance to even spacing is smaller. With few values that is partly chance, and an optimizer
    that homed in on a region spoils it. But were the scale linear, n x / max of n values would be
    up to x: where values below a hundredth of the largest are too many for that, they decide too.
    """
    low, high = float(distinct[0]), float(distinct[-1])
    if low <= 0.0:
        return False, "not all above 0"
    decades = math.log10(high) - math.log10(low)
    if decades < math.log10(_ALIKE_RATIO):
        return False, "all within a factor of two"
    if len(distinct) == 2:
        return decades >= 1.0, f"two values {decades:.1f} decades apart"
    even = np.linspace(0.0, 1.0, len(distinct))
    linear = _unevenness(distinct / high, even)
    logarithmic = _unevenness(np.log10(distinct), even)
    if logarithmic < linear:
        return True, f"more even on a log scale, over {decades:.1f} decades"
    if _has_tail(distinct):
        return True, f"many small values, over {decades:.1f} decades"
    return False, "more even on a linear scale"


def _unevenness(values: Numbers, even: Numbers) -> float:
    places = (values - values[0]) / (values[-1] - values[0])
    return float(np.mean((places - even) ** 2))


def _has_tail(distinct: Numbers) -> bool:
    """Whether for some value up to a hundredth of the largest, as many up to it would be rarer than
    `_RARE` on a linear scale, where their number is Poisson distributed."""
    from scipy.special import pdtrc

    shares = distinct[distinct <= distinct[-1] * _SMALL] / distinct[-1]
    chances = pdtrc(np.arange(len(shares)), len(distinct) * shares)
    return bool(np.any(chances < _RARE))


def _is_grid(distinct: Numbers, count: int) -> bool:
    if len(distinct) <= _MOST_GRID and 2 * len(distinct) <= count:
        return True
    powers = np.log2(np.abs(distinct[distinct != 0.0]))
    return bool(np.all(distinct > 0.0) and np.all(powers == np.rint(powers)))


def _rounded(low: float, high: float, log: bool, whole: bool) -> tuple[float, float]:
    if log:
        return _down(low), _up(high)
    step = _down((high - low) / _PARTS)
    if whole:
        step = max(1.0, step)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return (
        round(math.floor(low / step) * step, digits),
        round(math.ceil(high / step) * step, digits),
    )


def _down(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten up to `value`."""
    power = math.floor(math.log10(value))
    candidates = [_times_ten(part, at) for at in (power - 1, power) for part in _ROUND]
    return max(one for one in candidates if one <= value)


def _up(value: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten from `value` on."""
    power = math.floor(math.log10(value))
    candidates = [_times_ten(part, at) for at in (power, power + 1) for part in _ROUND]
    return min(one for one in candidates if one >= value)


def _times_ten(part: float, power: int) -> float:
    return float(f"{part:g}e{power}")  # exact, where 10.0**power is not


def _parameter(low: float, high: float, log: bool, whole: bool) -> Float | Integer:
    if whole:
        return Integer(int(low), int(high), log)
    return Float(low, high, log)
