"""A family of like tasks: bowls whose lowest points lie near each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from optimizer_cases import ended

from metatune.experience.past import PastTask
from metatune.optimizers.random import RandomSearch
from metatune.parameters import Categorical, Float, Value
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Trial

SPACE = SearchSpace(
    {
        "momentum": Float(0.0, 1.0),
        "rate": Float(1e-4, 1.0, log=True),
        "kind": Categorical(("plain", "good", "bad")),
        "decay": Float(0.0, 1.0),
    }
)
_PENALTY = {"good": 0.0, "plain": 0.1, "bad": 0.3}


@dataclass(frozen=True)
class Bowl:
    """Lowest, at 0, at these places and where `kind` is "good"; in units of its own."""

    momentum: float
    rate: float
    decay: float
    unit: float = 1.0
    sign: float = 1.0

    def value(self, space: SearchSpace, config: Mapping[str, Value]) -> float:
        """What a configuration of any space with these parameters yields."""
        momentum, rate, decay = (float(config[n] or 0.0) for n in ("momentum", "rate", "decay"))
        place = (math.log10(rate) + 4.0) / 4.0
        squares = (momentum - self.momentum) ** 2 + (place - self.rate) ** 2
        squares += 0.5 * (decay - self.decay) ** 2
        return self.sign * self.unit * (squares + _PENALTY.get(str(config.get("kind")), 0.0))


def bowl(seed: int, unit: float = 1.0) -> Bowl:
    """One of the family."""
    moved = 0.05 * np.random.default_rng(seed).standard_normal(3)
    momentum, rate, decay = (np.asarray([0.75, 0.3, 0.2]) + moved).tolist()
    return Bowl(momentum, rate, decay, unit)


def tried(
    space: SearchSpace, value: Callable[[SearchSpace, Config], float], seed: int, count: int
) -> list[Trial]:
    """Random trials."""
    study = Study("study", Task("task"), space, seed)
    suggestions = RandomSearch().suggest(study, [], count, seed)
    return [ended(n, s, value(space, s.config)) for n, s in enumerate(suggestions)]


def past_bowls(space: SearchSpace = SPACE, count: int = 4, trials: int = 50) -> list[PastTask]:
    """Tasks of the family, each in units of its own."""
    return [
        PastTask(Task(f"bowl {n}"), space, tuple(tried(space, bowl(n, 10.0**n).value, n, trials)))
        for n in range(1, count + 1)
    ]
