"""What an import is asked for, and what it would write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metatune.experience.history.found import FoundStudy, LeftOut
from metatune.experience.history.inference import Finding
from metatune.experience.history.sources import Tool
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Direction, Measure
from metatune.trial import Trial

# Key under which studies and trials say where they are from, in what is known of their training.
IMPORTED = "imported"


@dataclass(frozen=True)
class Choices:
    """What the person who imports says, where the source does not or says something else."""

    metric: str | None = None
    direction: Direction | None = None
    measure: Measure = "last"
    study: str | None = None
    space: SearchSpace | None = None
    space_source: str = "the given space"
    tool: Tool | None = None
    columns: Mapping[str, str | list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedStudy:
    """What would be written of one study: `trials` are the new ones, `study` their record.

    `known` trials of it are in the store already. `findings` say what is taken for the truth about
    each parameter, and why. `aliases` maps names of parameters to the name that stands for all that
    mean the same.
    """

    found: FoundStudy
    study: Study
    trials: tuple[Trial, ...]
    known: int
    findings: tuple[Finding, ...]
    left_out: tuple[LeftOut, ...]
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class ImportPlan:
    """What an import would write, and `left_out` studies."""

    address: str
    studies: tuple[PlannedStudy, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def trials(self) -> int:
        """How many trials are new."""
        return sum(len(planned.trials) for planned in self.studies)
