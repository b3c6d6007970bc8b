"""Studies: one search on one task, and everything that its proposals depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from metatune.errors import StudyError
from metatune.space import SearchSpace
from metatune.task import Task

# What may not change between two openings of a study, by field; the rest is free to grow.
_PINNED = ("seed", "optimizer", "pruner")


@dataclass(frozen=True)
class Study:
    """A search for good configurations of `space` on `task`.

    `trials` is the budget. `optimizer` and `pruner` say in words what proposes and what stops, as
    resolved when the study began. `experience` is what it knew then: the number of finished trials
    of each other study whose space shares a parameter; `aliases` are other names that these have
    for parameters of the space, with the names here; `model` is the fitted model it uses.
    `training` holds what exact re-training needs, `versions` the packages it began with. Together
    with its own trials these determine every proposal.

    A search whose space grows while it goes on, as one of another program may, is recorded as
    several studies that have `part_of` in common, one for each space.
    """

    name: str
    task: Task
    space: SearchSpace
    seed: int = 0
    trials: int = 0
    optimizer: str = "random"
    pruner: str = "none"
    experience: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    part_of: str = ""

    def check_same(self, other: Study) -> None:
        """Raise StudyError naming the first difference that would make `other` another study."""
        pairs: list[tuple[str, Any, Any]] = [
            ("task", self.task.name, other.task.name),
            ("metric", self.task.metric, other.task.metric),
            ("direction", self.task.direction, other.task.direction),
            ("measure", self.task.measure, other.task.measure),
            ("data hash", self.task.data_hash, other.task.data_hash),
        ]
        pairs += [(key, getattr(self, key), getattr(other, key)) for key in _PINNED]
        pairs += [
            (f"parameter {name}", a, b)
            for name in {**self.space.parameters, **other.space.parameters}
            if (a := self.space.to_dict().get(name)) != (b := other.space.to_dict().get(name))
        ]
        # Data may have moved: its hash, above, says whether it is the same.
        keys = [key for key in {**self.training, **other.training} if key != "data"]
        pairs += [(key, self.training.get(key), other.training.get(key)) for key in keys]
        for what, old, new in pairs:
            if old != new:
                raise StudyError(
                    f"study {self.name!r} was started with {what} = {old!r}, not {new!r}; "
                    f"ask for the same again, or give another name with --study"
                )
        if self.space.id != other.space.id:
            raise StudyError(
                f"study {self.name!r} was started with its parameters in the order "
                f"{self.space.names}, not {other.space.names}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The study as it stands in the store."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        return record | {"task": self.task.to_dict(), "space": self.space.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str = "study") -> Study:
        """The study of a record; raises StudyError naming `source` and an unknown key."""
        for key in set(record) - {f.name for f in fields(cls)}:
            raise StudyError(f"{source}: {key!r} is unknown")
        task = Task.from_dict(record["task"], source)
        space = SearchSpace.from_dict(record["space"], source)
        return cls(**{**record, "task": task, "space": space})
