"""What `auto` and `transfer` stand for."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from metatune.optimizers.memory import Memory
from metatune.optimizers.optimizer import MetaOptimizer, in_sequence
from metatune.optimizers.optuna_samplers import GP, TPE
from metatune.optimizers.random import check_given
from metatune.optimizers.transfer import Transfer
from metatune.parameters import Value
from metatune.study import Study
from metatune.trial import Suggestion, Trial

# A trial is expensive from so many seconds, and trials are many from so many that ended.
_EXPENSIVE = 5.0
_MANY = 50


def auto(memory: Memory) -> MetaOptimizer:
    """The learned meta-optimizer where a past task is related to the space, else ByCost."""
    model = memory.model()
    return ByCost() if model is None else Transfer(model)


def transfer(memory: Memory) -> MetaOptimizer:
    """The learned meta-optimizer, whatever there is to learn from."""
    return Transfer(memory.model() or [])


@dataclass(frozen=True)
class ByCost:
    """A Gaussian process while trials are few and expensive, else TPE; no memory.

    The process is asked while fewer than 50 trials have ended, at the median after 5 s or more,
    and no more than half of them were pruned, from which it cannot learn. Before anything can be
    learned from, both draw the same random configurations.
    """

    gp: MetaOptimizer = field(default_factory=GP)
    tpe: MetaOptimizer = field(default_factory=TPE)

    def __str__(self) -> str:
        return f"{self.gp} below {_MANY} trials of {_EXPENSIVE:g} s or more, else {self.tpe}"

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

        def propose(known: Sequence[Trial], _: int) -> Suggestion:
            asked = self.gp if _are_few_and_expensive(known) else self.tpe
            return asked.suggest(study, known, 1, seed, given)[0]

        return in_sequence(propose, study, trials, count, seed)


def _are_few_and_expensive(trials: Sequence[Trial]) -> bool:
    ended = [trial for trial in trials if trial.state.finished]
    pruned = sum(trial.state.is_partial for trial in ended)
    return (
        0 < len(ended) < _MANY
        and 2 * pruned <= len(ended)
        and statistics.median(trial.cost for trial in ended) >= _EXPENSIVE
    )
