"""The contract of everything that proposes configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from metatune.parameters import Value
from metatune.space import Config
from metatune.study import Study
from metatune.trial import Suggestion, Trial, TrialState, derive_seed


class MetaOptimizer(Protocol):
    """Proposes configurations; what it knows of past tasks is given at construction.

    It keeps no state but caches that can be dropped: the same study, trials and seed give the same
    proposals, in another process too. Its `str()` names it and its settings for the study record.
    """

    def suggest(
        self,
        study: Study,
        trials: Sequence[Trial],
        count: int,
        seed: int,
        given: Mapping[str, Value] = ...,
    ) -> list[Suggestion]:
        """`count` configurations of `study.space` to try next.

        `trials` are all of this study in order of number, lower is better, RUNNING ones included:
        what they try is not proposed again. `seed` is the study's. `given` fixes parameters, and
        the rest is proposed conditioned on them; a given parameter that is inactive in what is
        proposed is left out of it. `suggest(count=n)` equals n calls for one, each with the
        earlier ones RUNNING.
        """
        ...


Propose = Callable[[Sequence[Trial], int], Suggestion]


def in_sequence(
    propose: Propose, study: Study, trials: Sequence[Trial], count: int, seed: int
) -> list[Suggestion]:
    """`count` suggestions of `propose(trials, seed_of_call)`, each knowing the earlier ones as
    RUNNING. The seed of a call derives from `seed` and the number of trials proposed so far."""
    known = trials
    suggestions: list[Suggestion] = []
    for _ in range(count):
        if suggestions:
            number = len(known)
            running = Trial(study.name, number, suggestions[-1], derive_seed(seed, number, 1))
            known = [*known, running]
        suggestions.append(propose(known, derive_seed(seed, len(known))))
    return suggestions


def is_pending(config: Config, trials: Sequence[Trial]) -> bool:
    """Whether one of the trials that still run tries exactly `config`."""
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    return any(trial.config == config for trial in running)
