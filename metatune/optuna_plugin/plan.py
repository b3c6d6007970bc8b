"""What a trial is about to try, and how that fits what its objective asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial

from metatune.experience.choices import held_value
from metatune.optimizers.adapt import nearest, understands
from metatune.optuna_plugin.distributions import from_value, to_value
from metatune.parameters import Value
from metatune.space import Config, SearchSpace
from metatune.trial import Suggestion


@dataclass(frozen=True)
class Plan:
    """A configuration of a whole space, made with the `given` values fixed."""

    space: SearchSpace
    suggestion: Suggestion
    given: Mapping[str, Value] = field(default_factory=dict)

    def agrees(self, trial: FrozenTrial, given: Mapping[str, Value]) -> bool:
        """Whether a trial tries what was planned as far as it has asked, and what is `given` now
        was known or is what was planned."""
        return all(
            (name in self.given and self.given[name] == value)
            or self._is_planned(trial, name, value)
            for name, value in given.items()
        )

    def _is_planned(self, trial: FrozenTrial, name: str, value: Value) -> bool:
        config = self.suggestion.config
        if name not in config:
            return False
        if name not in trial.distributions:
            return config[name] == value
        planned, fits = from_value(trial.distributions[name], config[name])
        return fits and bool(planned == trial.params[name])


def given_of(trial: FrozenTrial, space: SearchSpace) -> Config:
    """What is settled in a trial, by what it has asked for or what its user enqueued, as the
    nearest values that `space` has; choices that it does not have are left out."""
    fixed: Mapping[str, Any] = trial.system_attrs.get("fixed_params", {})
    settled = {name: held_value(value) for name, value in fixed.items()}
    for name, value in trial.params.items():
        settled[name] = to_value(trial.distributions[name], value)
    return settled_in(space, settled)


def settled_in(space: SearchSpace, config: Mapping[str, Value]) -> Config:
    """What `space` understands of a configuration, as the nearest values that it has."""
    return {
        name: nearest(space.parameters[name], value)
        for name, value in config.items()
        if name in space.parameters and understands(space.parameters[name], value)
    }
