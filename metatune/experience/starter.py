"""The experience that comes with metatune: studies of built-in networks, in a store only read.

`metatune.starter` makes it. Its tasks are called `source/part`, by the data set that they are
derived from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from metatune.experience.past import PastTask
from metatune.experience.store import ExperienceStore
from metatune.parameters import Categorical, Value
from metatune.space import SearchSpace
from metatune.study import Study

FOLDER = Path(__file__).parent / "starter_store"
# What the names of its studies begin with, and those of no search may.
PREFIX = "starter-"


def starter_store() -> ExperienceStore:
    """The store of the studies that come with metatune."""
    return ExperienceStore(FOLDER)


def starter_experience(space: SearchSpace, store: ExperienceStore | None = None) -> dict[str, int]:
    """How many finished trials each study of the store, by default the one that comes along, has
    that searched one of the networks that `space` has to choose from, by name; none where it has
    no `network`."""
    networks = _networks(space)
    if not networks:
        return {}
    store = store or starter_store()
    fitting = {study.name for study in store.studies() if networks & _networks(study.space)}
    return {name: count for name, count in store.cutoff(space).items() if name in fitting}


def starter_part(experience: Mapping[str, int]) -> dict[str, int]:
    """What of `experience`, by study, comes with metatune."""
    return {name: count for name, count in experience.items() if name.startswith(PREFIX)}


def is_starter(task: PastTask) -> bool:
    """Whether a past task comes with metatune."""
    return all(trial.study.startswith(PREFIX) for trial in task.trials)


def starter_sample(
    store: ExperienceStore, experience: Mapping[str, int], space: SearchSpace, most: int | None
) -> list[PastTask]:
    """The past tasks of these studies, with at most so many of their trials: first one of each
    source, then the second of each."""
    seen: Counter[str] = Counter()
    turns = []
    for task in store.past_tasks(space, experience, most=most):
        source = task.task.name.partition("/")[0]
        turns.append((seen[source], task))
        seen[source] += 1
    return [task for _, task in sorted(turns, key=lambda turn: turn[0])]


def source_of(study: Study) -> str:
    """The data set, or generator, that the data of a starter study was made from. Two studies of
    one source are not independent of each other."""
    return str(study.training["source"])


def _networks(space: SearchSpace) -> set[Value]:
    parameter = space.parameters.get("network")
    return set(parameter.choices) if isinstance(parameter, Categorical) else set()
