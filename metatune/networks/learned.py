"""What was learned across tasks and is a choice of a configuration, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metatune.errors import ConfigurationError
from metatune.networks.checkpoints import Tensors
from metatune.parameters import is_number


@dataclass(frozen=True)
class Learned:
    """Choices beside the built-in ones: `initializations` are weights by the network's name and
    their places in it (see `meta_initialization`), choices of `initializer`; `losses` are
    coefficients of the parametric loss, choices of `loss`; `schedules` are points of the piecewise
    schedule, choices of `schedule`."""

    initializations: Mapping[str, Tensors] = field(default_factory=dict)
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    schedules: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, training: Mapping[str, Any], initializations: Mapping[str, Tensors] | None = None
    ) -> Learned:
        """What stands under `losses` and `schedules` in what is known of a training, each a table
        of numbers by name, with `initializations`. Raises ConfigurationError for other things."""
        schedules = _tables(training, "schedules")
        return cls(
            initializations or {},
            _tables(training, "losses"),
            {name: tuple(points.values()) for name, points in schedules.items()},
        )


def _tables(training: Mapping[str, Any], key: str) -> dict[str, dict[str, float]]:
    found = training.get(key, {})
    tables = found.values() if isinstance(found, Mapping) else [None]
    for table in tables:
        if not isinstance(table, Mapping) or not all(map(is_number, table.values())):
            raise ConfigurationError(
                f"[training] {key} = {found!r} must be tables of numbers by the names of choices"
            )
    return {name: dict(table) for name, table in found.items()}


NOTHING = Learned()
