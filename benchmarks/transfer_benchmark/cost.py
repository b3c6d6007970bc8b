"""What transfer costs: CPU seconds of a fit and of a suggestion on synthetic past tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from results import Row

from metatune.experience.past import PastTask
from metatune.parameters import Float, Vectors
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Trial
from transfer_benchmark.methods import METHODS
from transfer_benchmark.problems import past_trial

_DIMENSIONS = 10
_REPEATS = 5
COUNTS = (10, 100, 500)


@dataclass(frozen=True)
class Load:
    """How much a method has to learn from."""

    tasks: int = 12
    trials: int = 2000
    counts: tuple[int, ...] = COUNTS

    def __str__(self) -> str:
        return f"{_DIMENSIONS} dimensions, {self.tasks} past tasks of {self.trials} trials"


# One dimension grows at a time; the tested task's own trials up to 5,000 in the last.
SCALING = (
    *[Load(tasks, 200, (100,)) for tasks in (10, 100, 1000)],
    *[Load(12, trials, (100,)) for trials in (500, 2000, 5000)],
    Load(12, 2000, (1000, 2000, 5000)),
)


@dataclass(frozen=True)
class Cost:
    """CPU seconds until the first suggestion beyond those of a later one, and of a suggestion by
    the number of finished trials."""

    fit: float
    suggestions: dict[int, float]


def measure(method: str, load: Load, seed: int = 0) -> Cost:
    """The cost of one method; the median of five suggestions at each number of trials."""
    space = SearchSpace({f"x{index}": Float(0.0, 1.0) for index in range(_DIMENSIONS)})
    past = [
        PastTask(Task(f"past-{index}"), space, tuple(_trials(space, index, load.trials)))
        for index in range(load.tasks)
    ]
    study = Study("costs", Task("tested"), space, seed)
    trials = _trials(space, load.tasks, max(load.counts) + _REPEATS + 1)
    start = time.process_time()
    optimizer = METHODS[method].make(past, space, None, seed)
    made = time.process_time() - start
    seconds: dict[int, Vectors] = {}
    for count in load.counts:
        spent = []
        for known in range(count, count + _REPEATS + 1):
            start = time.process_time()
            optimizer.suggest(study, trials[:known], 1, seed)
            spent.append(time.process_time() - start)
        seconds[count] = np.asarray(spent)
    # The first suggestion at a count also catches up with the trials since the last.
    medians = {count: float(np.median(spent[1:])) for count, spent in seconds.items()}
    first = load.counts[0]
    return Cost(made + max(0.0, float(seconds[first][0]) - medians[first]), medians)


def _trials(space: SearchSpace, task: int, count: int) -> list[Trial]:
    """Random trials of a bowl around a point of the task's own."""
    rng = np.random.default_rng(task)
    centre = 0.5 + 0.15 * rng.standard_normal(_DIMENSIONS)
    scales = rng.uniform(0.2, 1.0, _DIMENSIONS)
    points = rng.random((count, _DIMENSIONS))
    values = (scales * (points - centre) ** 2).sum(axis=1) + 0.01 * rng.standard_normal(count)
    return [
        past_trial(f"past-{task}", number, space.decode(point), float(value))
        for number, (point, value) in enumerate(zip(points, values, strict=True))
    ]


def cost_rows(load: Load, ours: Cost, peers: dict[str, Cost]) -> list[Row]:
    """Our cost beside each peer's."""
    rows = []
    for peer, cost in peers.items():
        rows += [
            Row(
                str(load),
                f"cpu_seconds_per_suggestion_at_{count}",
                ours.suggestions[count],
                peer,
                s,
            )
            for count, s in cost.suggestions.items()
        ]
        rows.append(Row(str(load), "cpu_seconds_of_fit", ours.fit, peer, cost.fit))
    return rows
