"""How a trial of Ray Tune ended, as far as it can be told.

Ray asks its scheduler about a result only where neither the trainable itself nor the `stop` of the
Tuner ends the trial with it. Whoever ends it, Ray then marks that result `done`, and does not show
it to the searcher before the trial is complete. So:

- A trainable that returned after its last report ends without a new result.
- A trial that ends with a result not marked `done` was paused, or being saved, when a scheduler
  stopped it.
- Any other ended with its last result: by itself, by `stop`, or by a scheduler; which of them only
  the scheduler knows, and what `stop` says where that is a table of limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune.result import DONE, TRAINING_ITERATION
from ray.tune.stopper import (
    CombinedStopper,
    MaximumIterationStopper,
    NoopStopper,
    Stopper,
    TimeoutStopper,
)

from metatune.trial import TrialState

Result = Mapping[str, Any]


def how_it_ended(result: Result, went_on: int | None, limits: Mapping[str, float]) -> TrialState:
    """COMPLETE, PRUNED or, where it cannot be told, UNKNOWN, without knowing the scheduler.

    `result` is the last one, `went_on` the last step after which the trial was to go on, and
    `limits` the `stop` of the Tuner.
    """
    if not result.get(DONE):
        return TrialState.PRUNED
    if went_on == result.get(TRAINING_ITERATION) or reached(result, limits):
        return TrialState.COMPLETE
    return TrialState.UNKNOWN


def reached(result: Result, limits: Mapping[str, float]) -> bool:
    """Whether a result has reached one of the limits at which the user has trials stop."""
    return any(key in result and result[key] >= limit for key, limit in limits.items())


def ends_some_early(stopper: Stopper | None) -> bool:
    """Whether a stopper may end some trials after fewer steps than others."""
    if isinstance(stopper, CombinedStopper):
        return any(ends_some_early(part) for part in stopper._stoppers)
    # A time budget ends all trials at once, and Ray tells nobody.
    harmless = (NoopStopper, TimeoutStopper, MaximumIterationStopper)
    return stopper is not None and not isinstance(stopper, harmless)
