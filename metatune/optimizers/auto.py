"""What `auto` stands for."""

from __future__ import annotations

from collections.abc import Sequence

from metatune.experience.past import PastTask
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.portfolio import Portfolio
from metatune.optimizers.task_surrogate import is_related
from metatune.space import SearchSpace


def auto(space: SearchSpace, past: Sequence[PastTask]) -> MetaOptimizer:
    """A portfolio and then TPE where a past task is related to `space`, else TPE.

    See `task_surrogate.is_related` for what makes a past task related.
    """
    if any(is_related(task, space) for task in past):
        return Portfolio(past, then=TPE())
    return TPE()
