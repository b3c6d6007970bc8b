"""The learned meta-optimizer: right at the first trial, and never without a second opinion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from metatune.errors import InputError
from metatune.experience.past import PastTask
from metatune.optimizers.optimizer import in_sequence
from metatune.optimizers.proposal import NAME, Choices, Proposal
from metatune.optimizers.random import check_given
from metatune.optimizers.threads import one_thread
from metatune.optimizers.transfer_model import TransferModel, fit
from metatune.parameters import Value
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial

_FIT_SEED = 0


@dataclass
class Transfer:
    """Expected improvement under a prior learned from past tasks, guarded.

    See `task_prior` for the model and `guard` for its weight against a Gaussian process of this
    task's trials alone: what is proposed has the greatest weighted sum of both expected
    improvements. The first trial is what the past tasks together think best of what they tried.
    Every fifth after it is left to the process of this task alone, once that has two values, so
    that experience which misleads is found out sooner.

    `past` are past tasks, or a model fitted to them before; without a related one this is Bayesian
    optimization of the task alone. With `candidates` only these configurations are proposed. With
    `per_cost` improvement counts per second of training that it is expected to take; since seconds
    are never the same twice, neither are proposals then.
    """

    past: Sequence[PastTask] | TransferModel = field(repr=False)
    candidates: Sequence[Config] | None = field(default=None, repr=False)
    per_cost: bool = False
    _models: dict[str, TransferModel | None] = field(default_factory=dict, init=False, repr=False)
    _choices: dict[str, Choices] = field(default_factory=dict, init=False, repr=False)

    def __str__(self) -> str:
        return f"{NAME} per cost" if self.per_cost else NAME

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
        with one_thread():
            choices = self._choices_for(study, seed, given)

            def propose(known: Sequence[Trial], seed_of_call: int) -> Suggestion:
                return Proposal(choices, known, seed_of_call).suggestion(self.per_cost)

            return in_sequence(propose, study, trials, count, seed)

    def model(self, space: SearchSpace) -> TransferModel | None:
        """The model for a space; None where no past task is related to it.

        Raises InputError where the model given was fitted for another space.
        """
        if isinstance(self.past, TransferModel):
            if self.past.space.id != space.id:
                raise InputError(
                    f"the model was fitted for space {self.past.space.id}, not {space.id}; "
                    f"fit one for the space that is searched"
                )
            return self.past
        if space.id not in self._models:
            self._models[space.id] = fit(self.past, space, _FIT_SEED)
        return self._models[space.id]

    def _choices_for(self, study: Study, seed: int, given: Mapping[str, Value]) -> Choices:
        key = f"{study.space.id} {seed} {sorted(given.items())!r} {study.task!r}"
        if key not in self._choices:
            model = self.model(study.space)
            self._choices = {key: Choices(model, study, seed, given, self.candidates)}
        return self._choices[key]
