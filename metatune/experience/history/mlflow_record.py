"""An MLflow experiment and its runs, as its folders and its databases both record them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from metatune.experience.history.found import LeftOut


class Point(NamedTuple):
    """A metric as logged once: in milliseconds since 1970, and at the step that was given."""

    timestamp: int
    value: float
    step: int


@dataclass(frozen=True)
class Experiment:
    """`created` in milliseconds since 1970, where it is recorded."""

    id: str
    name: str
    created: int | None
    deleted: bool


@dataclass(frozen=True)
class Run:
    """`status` in MLflow's words; `start` and `end` in milliseconds since 1970."""

    id: str
    name: str
    status: str
    start: int | None
    end: int | None
    deleted: bool
    parent: str | None
    params: Mapping[str, str]
    metrics: tuple[str, ...]


class Tracking(Protocol):
    """Where MLflow keeps experiments. A method raises OSError or ValueError for what it cannot
    read as a whole."""

    @property
    def recognized(self) -> bool:
        """Whether it is MLflow's."""
        ...

    def experiments(self) -> list[Experiment | LeftOut]:
        """All experiments, deleted ones included."""
        ...

    def runs(self, experiment: Experiment) -> list[Run | LeftOut]:
        """All runs of an experiment, deleted ones included."""
        ...

    def points(self, experiment: Experiment, run: Run, metric: str) -> list[Point]:
        """All that a run logged of a metric."""
        ...
