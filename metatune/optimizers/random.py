"""Random search: the baseline, and how every model-based optimizer starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metatune.errors import ConfigurationError
from metatune.optimizers.optimizer import in_sequence, is_pending
from metatune.parameters import Value
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial

# A small space may hold nothing that is not already running.
_DRAWS = 32


@dataclass(frozen=True)
class RandomSearch:
    """Proposes uniformly on each parameter's scale."""

    def __str__(self) -> str:
        return "random"

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = {},
    ) -> list[Suggestion]:
        """See MetaOptimizer; raises ConfigurationError where `given` does not fit the space."""
        check_given(study.space, given)

        def propose(known: Sequence[Trial], seed: int) -> Suggestion:
            return draw(study.space, known, seed, given)

        return in_sequence(propose, study, trials, count, seed)


def draw(
    space: SearchSpace, trials: Sequence[Trial], seed: int, given: Mapping[str, Value]
) -> Suggestion:
    """A random configuration, and none that is running unless 32 draws find no other."""
    rng = np.random.default_rng(seed)
    config = space.sample(rng, given)
    for _ in range(_DRAWS - 1):
        if not is_pending(config, trials):
            break
        config = space.sample(rng, given)
    return Suggestion(config, "random")


def check_given(space: SearchSpace, given: Mapping[str, Value]) -> None:
    """Raise ConfigurationError unless every given value is one of its parameter's."""
    for name, value in given.items():
        if name not in space.parameters:
            raise ConfigurationError(f"given: {name} is no parameter; there are {space.names}")
        if not space.parameters[name].contains(value):
            raise ConfigurationError(
                f"given: {name} = {value!r} is not in {space.parameters[name]}"
            )
