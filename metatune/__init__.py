"""metatune: a distributed hyperparameter meta-optimizer.

Ray Tune runs a population of trials; a meta-optimizer proposes their configurations from the
experience of every earlier task; what they show is added to that experience. Importing metatune
imports neither ray, optuna nor torch: each name below is loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metatune.errors import MetatuneError
    from metatune.experience.store import ExperienceStore
    from metatune.optuna_plugin.pruner import MetaPruner
    from metatune.optuna_plugin.sampler import MetaSampler
    from metatune.orchestration.resources import Resources
    from metatune.orchestration.search import search, suggest
    from metatune.parameters import Categorical, Float, Integer
    from metatune.ray_plugin.recorder import ExperienceRecorder
    from metatune.ray_plugin.scheduler import MetaScheduler
    from metatune.ray_plugin.searcher import MetaSearch
    from metatune.space import SearchSpace
    from metatune.study import Study
    from metatune.task import Task
    from metatune.trial import Trial

__version__ = "0.1.0"
__all__ = [
    "Categorical",
    "ExperienceRecorder",
    "ExperienceStore",
    "Float",
    "Integer",
    "MetaPruner",
    "MetaSampler",
    "MetaScheduler",
    "MetaSearch",
    "MetatuneError",
    "Resources",
    "SearchSpace",
    "Study",
    "Task",
    "Trial",
    "search",
    "suggest",
]

_HOMES = {
    "Categorical": "metatune.parameters",
    "ExperienceRecorder": "metatune.ray_plugin.recorder",
    "ExperienceStore": "metatune.experience.store",
    "Float": "metatune.parameters",
    "Integer": "metatune.parameters",
    "MetaPruner": "metatune.optuna_plugin.pruner",
    "MetaSampler": "metatune.optuna_plugin.sampler",
    "MetaScheduler": "metatune.ray_plugin.scheduler",
    "MetaSearch": "metatune.ray_plugin.searcher",
    "MetatuneError": "metatune.errors",
    "Resources": "metatune.orchestration.resources",
    "SearchSpace": "metatune.space",
    "Study": "metatune.study",
    "Task": "metatune.task",
    "Trial": "metatune.trial",
    "search": "metatune.orchestration.search",
    "suggest": "metatune.orchestration.search",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'metatune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
