"""Past tasks: what optimizers learn from."""

from __future__ import annotations

from dataclasses import dataclass

from metatune.space import SearchSpace
from metatune.task import Task
from metatune.trial import Trial


@dataclass(frozen=True)
class PastTask:
    """The finished trials of one task in one search space, of all its studies.

    Values and curves are lower-is-better whatever the task's direction. Trials are in order of
    study name and number.
    """

    task: Task
    space: SearchSpace
    trials: tuple[Trial, ...]
