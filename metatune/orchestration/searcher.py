"""Ray Tune's search algorithm as a view of the coordinator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from metatune.orchestration.coordinator import Coordinator
from metatune.trial import Trial


class MetaSearch(Searcher):
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
            over = self._coordinator.is_complete() or self._coordinator.is_out_of_time()
            return str(Searcher.FINISHED) if over else None
        self.running[trial_id] = trial.number
        return self._prepare(trial)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: the recorder tells the coordinator, which knows the reason."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: all state is in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a search is resumed from the store."""
