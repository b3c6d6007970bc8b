"""What a store knows that may concern one study of Optuna's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optuna.distributions import BaseDistribution

from metatune.experience.aliases import renamed_space
from metatune.experience.store import ExperienceStore
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optuna_plugin.distributions import parameter_of
from metatune.parameters import Categorical, Parameter, Value
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial

# Models of so many spaces are kept at a time.
_MOST_MODELS = 4


@dataclass(frozen=True)
class Learned:
    """A learned optimizer twice: its cache is for one set of given values at a time.

    `experience`, `aliases` and `model` are what it learned from, as a Study has them.
    """

    free: MetaOptimizer
    conditioned: MetaOptimizer
    experience: Mapping[str, int]
    aliases: Mapping[str, str]
    model: str | None

    def suggest(
        self, study: Study, trials: Sequence[Trial], given: Mapping[str, Value]
    ) -> Suggestion:
        """One configuration to try next, with the given values fixed."""
        optimizer = self.conditioned if given else self.free
        return optimizer.suggest(study, trials, 1, study.seed, given)[0]


class Experience:
    """Studies of other searches and how far they had come when this was made.

    Studies whose names hold the mark `own` are left out, and `task` is the one that is searched.
    """

    def __init__(self, store: ExperienceStore, task: str, own: str) -> None:
        self._store, self._task = store, task
        known = store.studies()
        self._mine = [study.name for study in known if own in study.name]
        self._finished = store.cutoff(without=self._mine) if len(known) > len(self._mine) else {}
        self._studies = [study for study in known if study.name in self._finished]
        self._learned: dict[str, Learned | None] = {}

    def __bool__(self) -> bool:
        return bool(self._studies)

    def likely_space(self, asked: Mapping[str, BaseDistribution]) -> SearchSpace | None:
        """The space of past studies that a study which asked for these parameters most likely has:
        that with most of them, then that of the same task, that with most exactly the same ranges,
        and that with most trials; with the names asked for where others mean the same. None where
        no space has any of them."""
        parameters = {name: parameter_of(distribution) for name, distribution in asked.items()}
        trials: dict[str, int] = {}
        spaces: dict[str, SearchSpace] = {}
        same_task: dict[str, bool] = {}
        aliases = self._store.aliases()
        for study in self._studies:
            names = aliases.between(study.space.names, list(asked))
            space = renamed_space(study.space, names)
            key = space.id
            spaces[key] = space
            trials[key] = trials.get(key, 0) + self._finished[study.name]
            same_task[key] = same_task.get(key, False) or study.task.name == self._task

        def rank(key: str) -> tuple[int, bool, int, int, str]:
            theirs = spaces[key].parameters
            common = [n for n, p in parameters.items() if n in theirs and _alike(p, theirs[n])]
            exact = sum(parameters[name] == theirs[name] for name in common)
            return len(common), same_task[key], exact, trials[key], key

        best = max(map(rank, spaces), default=None)
        return spaces[best[-1]] if best is not None and best[0] else None

    def learned(self, space: SearchSpace) -> Learned | None:
        """The optimizer that learned from the studies related to a space; None where none is.

        A model is fitted the first time, which takes seconds, and kept in the store. Raises
        StoreError where the store cannot be read or written.
        """
        if space.id not in self._learned:
            while len(self._learned) >= _MOST_MODELS:
                del self._learned[next(iter(self._learned))]
            self._learned[space.id] = self._learn(space)
        return self._learned[space.id]

    def known(self, space: SearchSpace) -> Learned | None:
        """What `learned` gave for a space, if it was asked lately; nothing is fitted."""
        return self._learned.get(space.id)

    def _learn(self, space: SearchSpace) -> Learned | None:
        # Loads torch, which nobody needs who has no experience.
        from metatune.optimizers.auto import auto
        from metatune.optimizers.transfer import Transfer
        from metatune.orchestration.learning import StoreMemory, fit_shown

        related = self._store.cutoff(space, self._mine)
        counts = {name: self._finished[name] for name in related if name in self._finished}
        if not counts:
            return None
        with fit_shown(True) as progress:
            memory = StoreMemory(self._store, space, counts, progress=progress)
            free = auto(memory)
        if not isinstance(free, Transfer):
            return None
        aliases = self._store.other_names(space, counts)
        return Learned(free, replace(free), counts, aliases, memory.used)


def _alike(ours: Parameter | None, theirs: Parameter) -> bool:
    """Whether both are choices of which some are common, or both are numbers."""
    if isinstance(ours, Categorical) and isinstance(theirs, Categorical):
        return any(theirs.contains(choice) for choice in ours.choices)
    return ours is not None and isinstance(ours, Categorical) == isinstance(theirs, Categorical)
