"""What the readers of other tools' runs share: nested settings, curves, one metric of several."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from metatune.errors import DataError
from metatune.experience.choices import held_value
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut
from metatune.space import Config
from metatune.task import Direction, Report
from metatune.trial import TrialState

_LONGEST_ERROR = 4000  # characters of a traceback that are kept, its end


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError for whatever is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def as_number(value: object) -> float | None:
    """A number as float, None for anything else; booleans are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def as_seconds(value: object) -> float:
    """A time that something took, 0 where it is none."""
    number = as_number(value)
    return number if number is not None and 0.0 <= number < math.inf else 0.0


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number of 64 bits, and no boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def leaves(nested: Mapping[str, Any], separator: str, above: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of what is nested, names joined with `separator`."""
    for key, value in nested.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from leaves(value, separator, name + separator)
        else:
            yield name, value


def flat_config(nested: Mapping[str, Any], separator: str) -> Config:
    """A nested configuration as one level, values as `held_value` has them.

    Raises ValueError for two settings of one name and for what is nested too deeply.
    """
    config: Config = {}
    try:
        for name, value in leaves(nested, separator):
            if name in config:
                raise ValueError(f"two settings are named {name!r}")
            config[name] = held_value(value)
    except RecursionError:
        raise ValueError("settings are nested too deeply") from None
    return config


def extend(curve: list[Report], report: Report) -> None:
    """Add a report; one of an earlier or the same step takes the place of all from there on, as
    where a run went on from a checkpoint."""
    while curve and curve[-1].step >= report.step:
        curve.pop()
    curve.append(report)


def last_value(curve: Sequence[Report]) -> float | None:
    """The value last reported, None if it is not finite."""
    return curve[-1].value if curve and math.isfinite(curve[-1].value) else None


def shorten(error: str) -> str:
    """The end of a traceback."""
    return error.strip()[-_LONGEST_ERROR:]


def choose_metric(asked: str | None, said: str | None, names: Iterable[str]) -> str | None:
    """The metric that was asked for, else that which the source says, else the only one."""
    if asked is not None:
        return asked
    known = list(names)
    if said in known:
        return said
    return known[0] if len(known) == 1 else None


def assemble(
    key: str,
    name: str,
    tool: str,
    found: Iterable[FoundTrial | LeftOut],
    metric: str | None,
    names: Iterable[str],
    direction: Direction | None = None,
) -> FoundStudy:
    """A study of what was found of its trials; those that ended and never measured `metric` are
    left out."""
    trials, left_out = [], []
    for one in found:
        if isinstance(one, LeftOut):
            left_out.append(one)
        elif metric is not None and not _is_of_use(one):
            left_out.append(LeftOut(f"trial {one.key}", f"reported no {metric!r}"))
        else:
            trials.append(one)
    metrics = tuple(sorted(names))
    return FoundStudy(
        key, name, tool, tuple(trials), metric, direction, metrics, left_out=tuple(left_out)
    )


def beside(studies: Sequence[FoundStudy], lost: Sequence[LeftOut]) -> list[FoundStudy]:
    """Studies of a source, the first of which lists what is left out of it but of no study."""
    first, *others = studies
    return [replace(first, left_out=(*lost, *first.left_out)), *others]


def check_metric(address: str, metric: str | None, studies: Sequence[FoundStudy]) -> None:
    """Raise DataError unless `metric` was measured in one of the studies, or none is asked for."""
    names = sorted({name for study in studies for name in study.metrics})
    if metric is not None and names and metric not in names:
        raise DataError(f"{address}: no run reported {metric!r}; there are {names}")


def _is_of_use(trial: FoundTrial) -> bool:
    return trial.state is TrialState.FAILED or bool(trial.curve) or trial.value is not None
