"""What do two lines in an Optuna program gain, and what do they cost?

Tables of real trainings, each task left out in turn. Every other task is an Optuna study of 200
random trials in a journal, imported by `metatune experience import`'s own importer; the left-out
one is searched by an Optuna study with MetaSampler and by one with TPE. Configurations of past and
tested tasks are disjoint, and between measured points values are interpolated (`continuous
disjoint` of benchmarks/transfer.py). Regret after n trials is 0 at the best value of the tested
task's table and 1 at its median. A cell is (task, seed).

Costs are CPU seconds of one thread: of a proposal (ask and all suggestions) with 500 trials behind
it and 12 past tasks of 1,000 trials each, fit excluded; and where there is no experience, of a
proposal and of a whole trial, which is recorded in the store, beside those of TPE.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial
from results import Row, finish
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transfer_benchmark.problems import Problem, past_trial, problem, stable_hash
from transfer_benchmark.tables import load

from metatune import ExperienceStore, MetaSampler
from metatune.experience.history.importing import carry_out, plan_import
from metatune.experience.past import PastTask
from metatune.optimizers.optuna_history import distribution
from metatune.parameters import Float, Vectors
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import derive_seed

TABLE, PROTOCOL = "lcbench", "continuous-disjoint"
PAST_TRIALS = 200
FIRST, LATER = 5, 20
SEEDS = 5
QUICK_TASKS = ("dionis", "jannis")

DIMENSIONS = 10
LOAD_TASKS, LOAD_TRIALS, BEHIND = 12, 1000, 500
REPEATS = 5
ALONE_TRIALS = 200


@dataclass(frozen=True)
class Cell:
    """Regret of the best of the first 1, 2, ... trials on one task with one seed."""

    task: str
    seed: int
    ours: list[float]
    tpe: list[float]


def cell(data: Path, task: str, seed: int) -> Cell:
    """Search one left-out task both ways."""
    _quiet()
    posed = problem(TABLE, data, PROTOCOL, "true", task, seed)
    own_seed = derive_seed(seed, stable_hash(task))
    with tempfile.TemporaryDirectory() as folder:
        store = ExperienceStore(Path(folder, "store"))
        for past in posed.past:
            _imported(store, past, Path(folder, "past.log"), seed)
        ours = _regrets(posed, MetaSampler(store, task, seed=own_seed))
    return Cell(task, seed, ours, _regrets(posed, TPESampler(seed=own_seed)))


def _imported(store: ExperienceStore, past: PastTask, file: Path, seed: int) -> None:
    """A past task written by Optuna, and read by the importer."""
    distributions = _distributions(past.space)
    rng = np.random.default_rng([seed, stable_hash(past.task.name)])
    chosen = rng.choice(len(past.trials), size=PAST_TRIALS, replace=False)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(file))),
        study_name=past.task.name,
        direction=past.task.direction,
    )
    for trial in (past.trials[index].inward(past.task) for index in chosen):
        params = dict(trial.config)
        study.add_trial(create_trial(value=trial.value, params=params, distributions=distributions))
    carry_out(store, plan_import(store, str(file), past.task.name))
    file.unlink()


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    return {name: distribution(parameter) for name, parameter in space.parameters.items()}


def _regrets(posed: Problem, sampler: BaseSampler) -> list[float]:
    """A user's program, with either sampler."""
    distributions = _distributions(posed.space)

    def objective(trial: optuna.Trial) -> float:
        config = {name: trial._suggest(name, asked) for name, asked in distributions.items()}
        return posed.task.flip(posed.evaluate(config, set())[1])

    study = optuna.create_study(direction=posed.task.direction, sampler=sampler)
    study.optimize(objective, n_trials=LATER)
    values = [posed.task.flip(trial.values[0]) for trial in study.trials]
    return [posed.regret(min(values[:count])) for count in range(1, LATER + 1)]


def gain_rows(cells: Sequence[Cell]) -> list[Row]:
    """Mean regrets over all cells, and those of the task that comes off worst; all are printed."""
    tasks = list(dict.fromkeys(one.task for one in cells))
    seeds = len({one.seed for one in cells})
    by_task = {task: [one for one in cells if one.task == task] for task in tasks}
    columns = [("ours", 1), ("ours", FIRST), ("ours", LATER), ("tpe", FIRST), ("tpe", LATER)]
    heads = [f"{side} after {count}" for side, count in columns]
    table = Table("left out", *heads, title=f"mean regret over {seeds} seeds")
    for task, mine in [*by_task.items(), ("all", list(cells))]:
        table.add_row(task, *(f"{_mean(mine, side, count):.3f}" for side, count in columns))
    Console().print(table)
    worst = max(tasks, key=lambda task: _behind(by_task[task]))
    several = ", ".join(tasks) if len(tasks) <= len(QUICK_TASKS) else f"{len(tasks)} tasks"
    groups = {f"{several}; {seeds} seeds": cells, f"worst task, {worst}": by_task[worst]}
    return [
        Row(case, "regret", _mean(mine, "ours", FIRST), f"tpe after {n}", _mean(mine, "tpe", n))
        for case, mine in groups.items()
        for n in (LATER, FIRST)
    ]


def _mean(cells: Sequence[Cell], side: str, count: int) -> float:
    return statistics.fmean(getattr(one, side)[count - 1] for one in cells)


def _behind(cells: Sequence[Cell]) -> float:
    """How far our regret after the first trials is above that of TPE after all of its own."""
    return _mean(cells, "ours", FIRST) - _mean(cells, "tpe", LATER)


def proposal_cost() -> float:
    """Median CPU seconds of a proposal with much behind it."""
    _quiet()
    space = SearchSpace({f"x{index}": Float(0.0, 1.0) for index in range(DIMENSIONS)})
    with tempfile.TemporaryDirectory() as folder:
        store = ExperienceStore(folder)
        for index in range(LOAD_TASKS):
            name = f"past-{index}"
            points, values = _bowl(index, LOAD_TRIALS)
            store.put_study(Study(name, Task(name), space))
            pairs = enumerate(zip(points, values, strict=True))
            store.append([past_trial(name, n, space.decode(p), float(v)) for n, (p, v) in pairs])
        study = optuna.create_study(sampler=MetaSampler(store, "tested", seed=0))
        for point, value in zip(*_bowl(LOAD_TASKS, BEHIND), strict=True):
            params = dict(zip(space.names, point.tolist(), strict=True))
            asked: dict[str, BaseDistribution] = dict.fromkeys(params, FloatDistribution(0.0, 1.0))
            study.add_trial(create_trial(value=value, params=params, distributions=asked))
        spent = []
        for _ in range(REPEATS + 1):  # the first fits the model
            start = time.process_time()
            trial = study.ask(asked)
            spent.append(time.process_time() - start)
            study.tell(trial, sum(trial.params.values()))
    return statistics.median(spent[1:])


def _bowl(task: int, count: int) -> tuple[Vectors, Vectors]:
    """Random points [count, d], and how far each is from the task's own best one."""
    rng = np.random.default_rng(task)
    centre = 0.5 + 0.15 * rng.standard_normal(DIMENSIONS)
    points = rng.random((count, DIMENSIONS))
    return points, ((points - centre) ** 2).sum(axis=1)


@dataclass(frozen=True)
class Cost:
    """CPU seconds of a trial, and of its proposal alone."""

    proposal: float
    trial: float


def alone_cost() -> tuple[Cost, Cost]:
    """What trials cost without experience, ours and TPE's: medians of alternating runs."""
    _quiet()
    ours, tpe = [], []
    for seed in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(_spent(MetaSampler(folder, seed=seed)))
        tpe.append(_spent(TPESampler(seed=seed)))
    return _median(ours), _median(tpe)


def _spent(sampler: BaseSampler) -> Cost:
    study = optuna.create_study(sampler=sampler)
    asked: dict[str, BaseDistribution] = {
        f"x{index}": FloatDistribution(0.0, 1.0) for index in range(DIMENSIONS)
    }
    proposals = 0.0
    begin = time.process_time()
    for _ in range(ALONE_TRIALS):
        start = time.process_time()
        trial = study.ask(asked)
        proposals += time.process_time() - start
        study.tell(trial, sum(trial.params.values()))
    return Cost(proposals / ALONE_TRIALS, (time.process_time() - begin) / ALONE_TRIALS)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.proposal for cost in costs),
        statistics.median(cost.trial for cost in costs),
    )


def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def main() -> None:
    """Run every cell, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--data", type=Path, required=True, help="folder of the Parquet tables")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # CPU seconds are then those of one thread
    tasks = QUICK_TASKS if options.quick else tuple(load(TABLE, options.data).values)
    wanted = [(task, seed) for seed in range(1 if options.quick else SEEDS) for task in tasks]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        proposal, alone = pool.submit(proposal_cost), pool.submit(alone_cost)
        running = [pool.submit(cell, options.data, *one) for one in wanted]
        cells = [one.result() for one in track(running, "cells")]
        rows = gain_rows(cells)
        load_case = f"{DIMENSIONS} parameters, {LOAD_TASKS} past tasks of {LOAD_TRIALS} trials"
        rows.append(
            Row(
                f"{load_case}, {BEHIND} finished",
                "cpu_seconds_per_proposal",
                proposal.result(),
                "allowed",
                0.2,
            )
        )
        ours, tpe = alone.result()
        case = f"no experience, {DIMENSIONS} parameters, {ALONE_TRIALS} trials"
        rows.append(Row(case, "cpu_seconds_per_proposal", ours.proposal, "tpe", tpe.proposal))
        rows.append(Row(case, "cpu_seconds_per_trial", ours.trial, "tpe", tpe.trial))
    finish(rows, "adoption", options.json)


if __name__ == "__main__":
    main()
