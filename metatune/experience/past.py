"""Past tasks: what optimizers learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Trial


@dataclass(frozen=True)
class PastTask:
    """The finished trials of one task in one search space, of all its studies.

    Values and curves are lower-is-better whatever the task's direction. Trials are in order of
    study name and number. Of a search in parts the space is that of the widest part, of
    several the last. Where they are a sample of those that there are, `median` is the median
    of the finite values of all.
    """

    task: Task
    space: SearchSpace
    trials: tuple[Trial, ...]
    median: float | None = None


def past_keys(studies: Iterable[Study]) -> dict[str, tuple[str, ...]]:
    """What the trials of several studies have in common that make one past task, for each study by
    name: task and space, and for the parts of one search the space of its widest part."""
    known = list(studies)
    widest: dict[str, Study] = {}
    for study in known:
        other = widest.get(study.part_of, study)
        widest[study.part_of] = max(study, other, key=lambda part: (len(part.space), part.name))
    return {study.name: _key(study, widest[study.part_of]) for study in known}


def _key(study: Study, widest: Study) -> tuple[str, ...]:
    task, space = study.task, (widest if study.part_of else study).space
    return (task.name, task.data_hash, space.id, task.metric, task.direction, task.measure)


def largest(
    studies: Mapping[str, Study],
    keys: Mapping[str, tuple[str, ...]],
    finished: Mapping[str, int],
    most: int | None,
    most_tasks: int,
) -> dict[str, Study]:
    """The studies of the `most_tasks` past tasks with most finished trials, by `keys`; more than
    `most` count as that many, and of equals the first by key are taken."""
    totals: Counter[tuple[str, ...]] = Counter()
    for name in studies:
        totals[keys[name]] += finished.get(name, 0)
    counted = {key: total if most is None else min(total, most) for key, total in totals.items()}
    kept = set(sorted(counted, key=lambda key: (-counted[key], key))[:most_tasks])
    return {name: study for name, study in studies.items() if keys[name] in kept}


def thinned(count: int, most: int) -> list[int]:
    """Which of `count` ranked ones are kept: at most `most`, half of them the first, the rest
    evenly spaced among the others."""
    if count <= most:
        return list(range(count))
    first, steps = most // 2, max(most - most // 2 - 1, 1)
    others = [first + (count - 1 - first) * step // steps for step in range(most - first)]
    return [*range(first), *others]
