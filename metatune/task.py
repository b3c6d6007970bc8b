"""Tasks: what is learned, and how a trial on it is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from metatune.errors import TaskError

Direction = Literal["minimize", "maximize"]
Measure = Literal["last", "best"]


@dataclass(frozen=True)
class Report:
    """One point of a learning curve: `step` counts from 1, or from 0 where the trainable does;
    `seconds` since the trial began."""

    step: int
    value: float
    seconds: float


@dataclass(frozen=True)
class Task:
    """What is measured on which data.

    `metric` is the key of a trial's reports, better when lower or higher by `direction`; the
    trial's value is its `last` or its `best` report. `metafeatures` describe the data in numbers
    (rows, classes, ...), `data_hash` identifies it.
    """

    name: str
    metric: str = "loss"
    direction: Direction = "minimize"
    measure: Measure = "last"
    metafeatures: Mapping[str, float] = field(default_factory=dict)
    data_hash: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.metric:
            raise TaskError(f"task {self.name!r} with metric {self.metric!r}: both need a name")
        if self.direction not in get_args(Direction):
            raise TaskError(f"direction = {self.direction!r} must be one of {get_args(Direction)}")
        if self.measure not in get_args(Measure):
            raise TaskError(f"measure = {self.measure!r} must be one of {get_args(Measure)}")

    def flip(self, value: float) -> float:
        """From what is measured to what is minimised inside, and back: its own inverse."""
        return -value if self.direction == "maximize" else value

    def value(self, curve: Sequence[Report]) -> float | None:
        """A trial's value from its reports, in the metric's own sense; None if it has none that
        is finite."""
        if not curve:
            return None
        if self.measure == "last":
            return curve[-1].value if math.isfinite(curve[-1].value) else None
        finite = [report.value for report in curve if math.isfinite(report.value)]
        return min(finite, key=self.flip, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The task as it stands in the store."""
        return asdict(self) | {"metafeatures": dict(self.metafeatures)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str = "task") -> Task:
        """The task of a record; raises TaskError naming `source` and an unknown key."""
        for key in set(record) - {f.name for f in fields(cls)}:
            raise TaskError(f"{source}: {key!r} is unknown")
        return cls(**record)
