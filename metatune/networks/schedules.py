"""Schedules: the learning rate's multiplier as a function of training progress in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from metatune.networks.learned import NOTHING, Learned
from metatune.networks.settings import Settings

Schedule = Callable[[float], float]

ONLINE = "hypergradient"  # a constant that training itself moves, see `online_rate`
SCHEDULES = ("constant", "step", "cosine", "warmup", "one_cycle", "piecewise", ONLINE)
POINTS = tuple(f"schedule_point_{number}" for number in range(1, 6))  # of the piecewise schedule
_START, _END = 1 / 25, 1 / 250_000  # of one cycle, as fractions of its peak


def schedule(settings: Settings, learned: Learned = NOTHING) -> Schedule:
    """The schedule that `settings` name, one of those learned among them, with its parameters;
    progress beyond 1 counts as 1."""
    name = settings.choice("schedule", [*SCHEDULES, *learned.schedules])
    if name in learned.schedules:
        points = learned.schedules[name]
        if len(points) < 2 or min(points) <= 0.0:
            raise settings.error("schedule", f"one with two positive points or more, not {points}")
        return Piecewise(points)
    if name == "piecewise":
        return Piecewise(tuple(settings.number(point, 1e-6, 100.0) for point in POINTS))
    if name == "one_cycle":
        peak = settings.number("peak_fraction", 0.01, 0.99)
        return lambda progress: one_cycle(progress, peak)
    if name == "step":
        factor = settings.number("step_factor", 0.0, 1.0)
        count = settings.whole("step_count")
        return lambda progress: step(progress, factor, count)
    if name == "cosine":
        final = settings.number("final_fraction", 0.0, 1.0)
        return lambda progress: cosine(progress, final)
    if name == "warmup":
        fraction = settings.number("warmup_fraction", 0.0, 0.99)
        return lambda progress: warmup(progress, fraction)
    return lambda progress: 1.0


def sensitivity(settings: Settings) -> float:
    """How fast the schedule moves the learning rate online, 0 where it does not."""
    if settings["schedule"] != ONLINE:
        return 0.0
    return settings.number("hypergradient_rate", 0.0, 0.9)


@dataclass(frozen=True)
class Piecewise:
    """A schedule through multipliers at equally spaced points of progress, geometric in between."""

    points: tuple[float, ...]

    def __call__(self, progress: float) -> float:
        """The multiplier at `progress`."""
        place = min(progress, 1.0) * (len(self.points) - 1)
        before = min(int(place), len(self.points) - 2)
        share = place - before
        return float(self.points[before] ** (1.0 - share) * self.points[before + 1] ** share)


def one_cycle(progress: float, peak: float) -> float:
    """Half a cosine from 1/25 up to 1 at progress `peak`, and half a cosine down to 1/250,000
    (Smith & Topin 2018, in the form of torch's OneCycleLR; momentum is left as it is)."""
    if progress < peak:
        return 1.0 + (_START - 1.0) * 0.5 * (1.0 + math.cos(math.pi * progress / peak))
    return cosine((progress - peak) / (1.0 - peak), _END)


def step(progress: float, factor: float, count: int) -> float:
    """`count` drops at equal distances, each by `factor`."""
    drops = math.floor(min(progress, 1.0) * (count + 1))
    return float(factor ** min(drops, count))


def cosine(progress: float, final: float) -> float:
    """Half a cosine from 1 to `final` (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def warmup(progress: float, fraction: float) -> float:
    """A line from 0 to 1 over the first `fraction`, then half a cosine to 0."""
    if progress < fraction:
        return progress / fraction
    return cosine((progress - fraction) / (1.0 - fraction), 0.0)
