"""What was learned across tasks and is a choice of a configuration, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metatune.networks.checkpoints import Tensors


@dataclass(frozen=True)
class Learned:
    """Choices beside the built-in ones: `initializations` are weights by their names in a network,
    choices of `initializer`; `losses` are coefficients of the parametric loss, choices of `loss`;
    `schedules` are points of the piecewise schedule, choices of `schedule`."""

    initializations: Mapping[str, Tensors] = field(default_factory=dict)
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    schedules: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


NOTHING = Learned()
