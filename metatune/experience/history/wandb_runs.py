"""W&B's runs, from logs written offline (wandb/offline-run-*) and run tables exported as CSV.

A run whose exit code is 0 is COMPLETE, with any other FAILED; one whose log does not say that it
ended, because it goes on or was killed, is RUNNING.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metatune.errors import DataError
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut
from metatune.experience.history.runs import (
    as_number,
    as_seconds,
    assemble,
    beside,
    check_metric,
    choose_metric,
    flat_config,
    last_value,
)
from metatune.experience.history.wandb_log import Log, is_log, read_log
from metatune.experience.history.wandb_table import is_run_table, read_run_table
from metatune.task import Direction, Report
from metatune.trial import TrialState

TOOL = "wandb"
# A log, a run's folder, the folder wandb, and the folder in which that stands.
_PATTERNS = ("run-*.wandb", "*run-*/run-*.wandb", "wandb/*run-*/run-*.wandb")


@dataclass(frozen=True)
class _Run:
    """What is read of a log: its trial for the metric wanted, and all that it measured."""

    path: Path
    id: str
    project: str
    trial: FoundTrial | LeftOut
    metrics: frozenset[str]
    goals: tuple[tuple[str, Direction], ...]
    note: LeftOut | None


def recognizes(address: str) -> bool:
    """Whether an address is a log, a folder of logs or a run table."""
    path = Path(address)
    try:
        return is_run_table(path) or any(_is_log(one) for one in _logs(path))
    except (OSError, ValueError):
        return False


def read(address: str, metric: str | None) -> list[FoundStudy]:
    """The runs of a folder, a study for each project, or of a table.

    Curves are by W&B's own step, seconds those since the run began. A metric that was given a goal
    (`define_metric`) is taken for the one that was optimized. Raises DataError naming what cannot
    be read, and for a metric that no run logged.
    """
    path = Path(address)
    if path.is_file() and is_run_table(path):
        return [read_run_table(path, metric)]
    paths = _logs(path)
    if not paths:
        raise DataError(f"{path}: no log of W&B; there must be files run-*.wandb")
    lost: list[LeftOut] = []
    projects: dict[str, dict[str, _Run]] = {}
    for one in paths:
        run = _read(one, metric)
        if isinstance(run, LeftOut):
            lost.append(run)
            continue
        of_project = projects.setdefault(run.project, {})
        if run.id in of_project:
            reason = f"run {run.id} is logged again in {one.parent.name}"
            lost.append(LeftOut(of_project.pop(run.id).path.parent.name, reason))
        of_project[run.id] = run
    if not projects:
        raise DataError(f"{lost[0].what}: {lost[0].reason}")
    studies = [_study(project, [*runs.values()], metric) for project, runs in projects.items()]
    check_metric(str(path), metric, studies)
    return beside(studies, lost)


def _logs(path: Path) -> list[Path]:
    """Logs in the order of their folders' names, which begin with the time."""
    if path.is_file():
        return [path] if path.suffix == ".wandb" else []
    found = {one.resolve() for pattern in _PATTERNS for one in path.glob(pattern)}
    return sorted(found, key=lambda one: (one.parent.name, one.name))


def _is_log(path: Path) -> bool:
    with path.open("rb") as file:
        return is_log(file)


def _study(project: str, runs: Sequence[_Run], asked: str | None) -> FoundStudy:
    names = {name for run in runs for name in run.metrics}
    goals = {goal for run in runs for goal in run.goals if goal[0] in names}
    optimized = {name for name, _ in goals}
    metric = choose_metric(asked, optimized.pop() if len(optimized) == 1 else None, names)
    if metric != asked:
        again = [_read(run.path, metric) for run in runs]
        runs = [run for run in again if isinstance(run, _Run)]
    directions = {direction for name, direction in goals if name == metric}
    direction = directions.pop() if len(directions) == 1 else None
    found = [one for run in runs for one in (run.note, run.trial) if one is not None]
    return assemble(project, project, TOOL, found, metric, names, direction)


def _read(path: Path, metric: str | None) -> _Run | LeftOut:
    try:
        with path.open("rb") as file:
            log = read_log(file)
    except (OSError, DataError) as error:
        return LeftOut(str(path), str(error))
    if not log.run_id:
        return LeftOut(str(path), "breaks off before it says which run it is of")
    series = _Series(log, metric)
    note = None
    if log.truncated is not None:
        reason = f"its log breaks off in the middle of a record at byte {log.truncated}"
        note = LeftOut(_what(log), reason)
    project = f"{log.entity}/{log.project}" if log.entity else log.project or "uncategorized"
    trial = _trial(log, series)
    names = frozenset(series.names)
    return _Run(path, log.run_id, project, trial, names, tuple(log.goals.items()), note)


class _Series:
    """What a log measured: `names`, and of the metric wanted the `curve` or the `value`."""

    def __init__(self, log: Log, metric: str | None) -> None:
        self.names: set[str] = set()
        self.seconds = 0.0
        reports: dict[int, Report] = {}
        for step, values in log.history:
            seconds = as_seconds(values.get(("_runtime",)))
            self.seconds = max(self.seconds, seconds)
            for name, number in _numbers(values.items()):
                self.names.add(name)
                if name == metric:
                    reports[step] = Report(step, number, seconds)
        summary = dict(_numbers(log.summary.items()))
        self.names.update(summary)
        self.curve = tuple(reports[step] for step in sorted(reports))
        self.value = last_value(self.curve) if self.curve else summary.get(metric or "")


def _numbers(values: Iterable[tuple[tuple[str, ...], object]]) -> list[tuple[str, float]]:
    """Names and values of what is a number and not W&B's own."""
    numbers = [(".".join(path), as_number(value)) for path, value in values if path[0][:1] != "_"]
    return [(name, number) for name, number in numbers if number is not None]


def _what(log: Log) -> str:
    return f"run {log.name!r} ({log.run_id})"


def _trial(log: Log, series: _Series) -> FoundTrial | LeftOut:
    given = {".".join(path): value for path, value in log.config.items() if path[0] != "_wandb"}
    try:
        config = flat_config(given, ".")
    except ValueError as error:
        return LeftOut(_what(log), str(error))
    if not config:
        return LeftOut(_what(log), "has no configuration")
    curve, value, seconds = series.curve, series.value, series.seconds
    if log.exit_code is None:
        return FoundTrial(log.run_id, config, TrialState.RUNNING, curve, value, seconds)
    if log.exit_code == 0:
        return FoundTrial(log.run_id, config, TrialState.COMPLETE, curve, value, seconds)
    reason = f"exit code {log.exit_code}"
    return FoundTrial(log.run_id, config, TrialState.FAILED, curve, None, seconds, reason)
