"""Schedules: the learning rate's multiplier as a function of training progress in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable

from metatune.networks.settings import Settings

Schedule = Callable[[float], float]

SCHEDULES = ("constant", "step", "cosine", "warmup")


def schedule(settings: Settings) -> Schedule:
    """The schedule that `settings` name, with its parameters; progress beyond 1 counts as 1."""
    name = settings.choice("schedule", SCHEDULES)
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
