"""Ray Tune's search algorithm as a view of the coordinator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.populations import Populations
from metatune.trial import Trial


class _Stateless(Searcher):
    """A searcher that Ray Tune tells and saves nothing."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: the recorder tells the coordinator, which knows the reason."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: all state is in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a search is resumed from the store."""


def _nothing_now(coordinator: Coordinator) -> str | None:
    """What says that there is nothing to try: FINISHED if there never will be."""
    over = coordinator.is_complete() or coordinator.spent()
    return str(Searcher.FINISHED) if over else None


class TrialSearch(_Stateless):
    """Hands Ray Tune the trials that the coordinator proposes.

    `prepare` makes what the trainable is given out of a trial; by default its configuration,
    untouched. `running` maps Ray's trial ids to the numbers of ours.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        prepare: Callable[[Trial], dict[str, Any]] = lambda trial: dict(trial.config),
    ) -> None:
        super().__init__()
        self.running: dict[str, int] = {}
        self._coordinator = coordinator
        self._prepare = prepare

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """What to try next under Ray's `trial_id`; None if nothing now, FINISHED if never."""
        trial = self._coordinator.ask()
        if trial is None:
            return _nothing_now(self._coordinator)
        self.running[trial_id] = trial.number
        return self._prepare(trial)


class PopulationSearch(_Stateless):
    """Hands Ray Tune the populations to train; `running` maps Ray's trial ids to their names."""

    def __init__(self, populations: Populations) -> None:
        super().__init__()
        self.running: dict[str, str] = {}
        self._populations = populations

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """What to train under Ray's `trial_id`; None if nothing now, FINISHED if never."""
        name = self._populations.next()
        if name is None:
            return _nothing_now(self._populations.coordinator)
        self.running[trial_id] = name
        return {"population": name}
