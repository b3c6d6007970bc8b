"""One study of Optuna's as it is searched: what is planned for each of its trials."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from metatune.optuna_plugin.distributions import from_value
from metatune.optuna_plugin.experience import Experience, Learned
from metatune.optuna_plugin.frozen_trials import write_plan
from metatune.optuna_plugin.history import StudyHistory
from metatune.optuna_plugin.observed_space import with_parameter
from metatune.optuna_plugin.plan import Plan, given_of
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import derive_seed


class Search:
    """Plans the trials of one study from `experience` and from the study's own trials.

    A plan is a function of the experience, of the trials known when a trial begins, and of the
    seed. `said` is what the user said of the study's space, if anything.
    """

    def __init__(
        self,
        task: Task,
        experience: Experience,
        history: StudyHistory,
        seed: int,
        said: SearchSpace | None,
    ) -> None:
        self._task, self._experience, self._history = task, experience, history
        self._seed, self._said = seed, said
        self._plans: dict[int, Plan] = {}
        self._changes = 0
        history.observed.assume(said)

    def begin(self, study: optuna.Study, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> None:
        """Plan a trial from all there are, if the space is known by now and there is something to
        learn from."""
        self._history.refresh(trials)
        self.assume()
        space = self._history.observed.space()
        if space is not None:
            self._make(study, trial, space)

    def assume(self) -> None:
        """Take what the study has asked for by now for a part of the likely space."""
        observed = self._history.observed
        if self._said is None and observed.changes != self._changes:
            self._changes = observed.changes
            observed.assume(self._experience.likely_space(observed.distributions))

    def plan(self, number: int) -> Plan | None:
        """What is planned for a running trial; None where there is nothing to learn from."""
        return self._plans.get(number)

    def learned(self, space: SearchSpace) -> Learned | None:
        """What proposes in a space, if something did."""
        return self._experience.known(space)

    def end(self, number: int) -> Plan | None:
        """The last plan of a trial, which is forgotten with this."""
        return self._plans.pop(number, None)

    def propose(
        self, study: optuna.Study, trial: FrozenTrial, name: str, asked: BaseDistribution
    ) -> tuple[Any, bool]:
        """A value for a parameter that a trial asks for; (None, False) where there is nothing to
        learn from.

        Numbers that do not fit what is asked are moved into the range, and choices that are not
        offered are planned again among those that are. Parameters that are not planned, and those
        that no plan can hold, are drawn by themselves.
        """
        plan = self._plan_for(study, trial, name, asked)
        if plan is None:
            return None, False
        value, offered = _planned(plan, name, asked)
        if not offered and name in plan.suggestion.config:
            plan = self._make(study, trial, with_parameter(plan.space, name, asked)) or plan
            value, offered = _planned(plan, name, asked)
        return (value if offered else self._alone(study, trial, name, asked)), True

    def _plan_for(
        self, study: optuna.Study, trial: FrozenTrial, name: str, asked: BaseDistribution
    ) -> Plan | None:
        """The plan of a trial, made again where the trial has left it."""
        plan = self._plans.get(trial.number)
        unknown = plan is None or name not in plan.space.parameters
        if unknown and self._history.observed.space() is None:
            # Of a first trial, the parameters come to be known one by one.
            likely = self._experience.likely_space({**trial.distributions, name: asked})
            if likely is not None and name in likely.parameters:
                return self._make(study, trial, likely) or plan
        if plan is not None and not plan.agrees(trial, given_of(trial, plan.space)):
            return self._make(study, trial, plan.space)
        return plan

    def _make(self, study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> Plan | None:
        learned = self._experience.learned(space)
        if learned is None:
            return None
        given = given_of(trial, space)
        ours = Study(study.study_name, self._task, space, self._seed)
        suggestion = learned.suggest(ours, self._history.others(trial.number, space), given)
        plan = self._plans[trial.number] = Plan(space, suggestion, given)
        self._history.plan(trial, suggestion.config)  # others may be planned before the next begins
        write_plan(study._storage, trial, suggestion.config)
        return plan

    def _alone(
        self, study: optuna.Study, trial: FrozenTrial, name: str, asked: BaseDistribution
    ) -> Any:
        """A value drawn without regard to the others, the same whenever it is drawn again."""
        seed = derive_seed(self._seed, trial.number, zlib.crc32(name.encode()))
        return TPESampler(seed=seed).sample_independent(study, trial, name, asked)


def _planned(plan: Plan, name: str, asked: BaseDistribution) -> tuple[Any, bool]:
    """The planned value of a parameter as asked for, and whether there is one."""
    if name not in plan.suggestion.config:
        return None, False
    value, fits = from_value(asked, plan.suggestion.config[name])
    return value, fits or value is not None
