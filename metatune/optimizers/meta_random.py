"""Meta random search: random restarts plus local perturbation of the best so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metatune.errors import InputError
from metatune.optimizers.acquisition import near
from metatune.optimizers.optimizer import in_sequence, is_pending
from metatune.optimizers.random import check_given, draw
from metatune.optimizers.task_surrogate import outcome
from metatune.parameters import Value
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial, derive_seed

_NAME = "meta-random"
# A small space may hold nothing near that is not already running.
_DRAWS = 32


@dataclass(frozen=True)
class MetaRandomSearch:
    """With probability `restart` a random configuration, else one near the best so far.

    Near is: some parameters, one at least, moved by about a fiftieth to a third of their range, or
    drawn anew where they are unordered choices; parameters that thereby come to exist are drawn.
    The best is that of the trials that ended with a value, pruned ones among them; before there
    is one, everything is random. It needs no gradient and no model: the baseline of those that
    have them.
    """

    restart: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.restart <= 1.0:
            raise InputError(f"restart = {self.restart!r} must be a probability in [0, 1]")

    def __str__(self) -> str:
        return f"{_NAME}(restart={self.restart:g})"

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
            return self._propose(study.space, known, seed, given)

        return in_sequence(propose, study, trials, count, seed)

    def _propose(
        self, space: SearchSpace, trials: Sequence[Trial], seed: int, given: Mapping[str, Value]
    ) -> Suggestion:
        ended = [trial for trial in trials if trial.state.finished and np.isfinite(outcome(trial))]
        rng = np.random.default_rng(derive_seed(seed, 1))  # not the draws of a restart
        if not ended or rng.random() < self.restart:
            return draw(space, trials, seed, given)
        best = min(ended, key=lambda trial: (outcome(trial), trial.number))
        for _ in range(_DRAWS):
            config = near(space, best.config, 1, rng, given)[0]
            if not is_pending(config, trials):
                return Suggestion(config, _NAME)
        return draw(space, trials, seed, given)
