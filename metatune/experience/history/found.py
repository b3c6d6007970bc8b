"""What is found in a record that another tool kept of earlier trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metatune.parameters import Parameter
from metatune.space import Config
from metatune.task import Direction, Report
from metatune.trial import TrialState


@dataclass(frozen=True)
class OwnRecord:
    """What a source says of a trial that metatune recorded itself, perhaps in another store.

    It has this `number` in a study whose name holds `mark`, or, without a mark, in the `study` of
    that name, and then took so many `seconds` to the last digit.
    """

    number: int
    mark: str = ""
    study: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class FoundTrial:
    """A trial as another tool recorded it, in the metric's own sense.

    `key` tells it apart in its study, and is the same when the source is read again. `seconds` is
    how long it took, 0 where that is not said. `own` is where metatune may have it from itself.
    """

    key: str
    config: Config
    state: TrialState
    curve: tuple[Report, ...] = ()
    value: float | None = None
    seconds: float = 0.0
    error: str | None = None
    own: OwnRecord | None = None


@dataclass(frozen=True)
class LeftOut:
    """What could not be read, or is of no use, and why."""

    what: str
    reason: str


@dataclass(frozen=True)
class FoundStudy:
    """Trials that another tool kept together.

    `key` tells the study apart in its source and stays the same. `metric` and `direction` are None
    where the source does not say which of `metrics` was optimized, or which way. `parameters` are
    those whose kind, range and scale the source says; the others are inferred from the trials.
    `notes` tell of a parameter, by name, what the source says of it and `parameters` cannot.
    """

    key: str
    name: str
    tool: str
    trials: tuple[FoundTrial, ...]
    metric: str | None = None
    direction: Direction | None = None
    metrics: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
