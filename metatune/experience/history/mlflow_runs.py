"""MLflow's runs, from tracking folders (mlruns) and tracking databases, without MLflow.

A run that FINISHED is COMPLETE, one that FAILED is FAILED, and one that was KILLED was stopped
early, PRUNED; one whose process was killed stays RUNNING. MLflow says of no metric that it was
optimized, nor which way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from metatune.errors import DataError
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut
from metatune.experience.history.mlflow_folder import TrackingFolder
from metatune.experience.history.mlflow_record import Experiment, Point, Run, Tracking
from metatune.experience.history.passwords import hide_password
from metatune.experience.history.runs import (
    assemble,
    beside,
    check_metric,
    choose_metric,
    last_value,
)
from metatune.task import Report
from metatune.trial import TrialState

TOOL = "mlflow"
_STATES = {
    "FINISHED": TrialState.COMPLETE,
    "FAILED": TrialState.FAILED,
    "KILLED": TrialState.PRUNED,
    "RUNNING": TrialState.RUNNING,
}
_SQLITE_HEADER = b"SQLite format 3\0"


def recognizes(address: str) -> bool:
    """Whether an address is a tracking folder or a database with MLflow's tables."""
    try:
        with _open(address) as tracking:
            return tracking.recognized
    except (OSError, ValueError):
        return False


def read(address: str, metric: str | None) -> list[FoundStudy]:
    """The experiments of a folder or database, each a study, without those that have no run.

    Curves are by step, seconds since the run began. Where the steps given do not tell a metric's
    values apart, they are numbered from 1 in the order of time. Raises DataError naming what
    cannot be read, and for a metric that no run logged.
    """
    studies: list[FoundStudy] = []
    lost: list[LeftOut] = []
    try:
        with _open(address) as tracking:
            for experiment in tracking.experiments():
                if isinstance(experiment, LeftOut):
                    lost.append(experiment)
                elif experiment.deleted:
                    lost.append(LeftOut(f"experiment {experiment.name!r}", "is deleted"))
                else:
                    studies += _studies(tracking, experiment, metric)
    except (OSError, ValueError) as error:
        raise DataError(f"{hide_password(address)}: {error}") from None
    if not studies:
        why = "".join(f"; {one.what}: {one.reason}" for one in lost[:2])
        raise DataError(f"{hide_password(address)}: no experiment of MLflow with a run{why}")
    check_metric(hide_password(address), metric, studies)
    return beside(studies, lost)


@contextmanager
def _open(address: str) -> Iterator[Tracking]:
    scheme = urlsplit(address).scheme if "://" in address else ""
    path = Path(unquote(urlsplit(address).path) if scheme == "file" else address)
    where: str | Path = path
    if scheme not in ("", "file"):
        where = address
    elif path.is_dir():
        yield TrackingFolder(path)
        return
    else:
        with path.open("rb") as file:
            if file.read(len(_SQLITE_HEADER)) != _SQLITE_HEADER:
                raise ValueError("is neither a folder nor an SQLite database")
    from metatune.experience.history.mlflow_tables import TrackingTables  # loads SQLAlchemy

    with closing(TrackingTables(where)) as tables:
        yield tables


def _studies(tracking: Tracking, experiment: Experiment, asked: str | None) -> list[FoundStudy]:
    """The study of an experiment, none if it has no run."""
    runs = sorted(tracking.runs(experiment), key=_order)
    if not runs:
        return []
    names = {name for run in runs if isinstance(run, Run) for name in run.metrics}
    metric = choose_metric(asked, None, names)
    key = experiment.id if experiment.created is None else f"{experiment.id}@{experiment.created}"
    parents = {run.parent for run in runs if isinstance(run, Run)}
    found = [
        run
        if isinstance(run, LeftOut)
        else _trial(tracking, experiment, run, metric, run.id in parents)
        for run in runs
    ]
    return [assemble(key, experiment.name, TOOL, found, metric, names)]


def _order(run: Run | LeftOut) -> tuple[int, str]:
    """By time, those that cannot be read first."""
    return (0, run.what) if isinstance(run, LeftOut) else (run.start or 0, run.id)


def _trial(
    tracking: Tracking, experiment: Experiment, run: Run, metric: str | None, is_parent: bool
) -> FoundTrial | LeftOut:
    what = f"run {run.name!r} ({run.id})"
    if run.deleted:
        return LeftOut(what, "is deleted")
    if not run.params:
        return LeftOut(what, f"has no parameters{', only runs below it' if is_parent else ''}")
    if run.status not in _STATES:
        return LeftOut(what, f"has not begun: its status is {run.status}")
    try:
        logged = metric is not None and metric in run.metrics
        points = tracking.points(experiment, run, metric) if logged and metric else []
    except (OSError, ValueError) as error:
        return LeftOut(what, str(error))
    curve = _curve(points, run.start)
    state = _STATES[run.status]
    failed = state is TrialState.FAILED
    value = None if failed else last_value(curve)
    seconds = max(run.end - run.start, 0) / 1000 if run.end and run.start else 0.0
    reason = "MLflow says that it failed, not why" if failed else None
    return FoundTrial(run.id, dict(run.params), state, curve, value, seconds, reason)


def _curve(points: list[Point], start: int | None) -> tuple[Report, ...]:
    """Points in the order of their steps, of those with the same step the latest."""
    points = sorted(points, key=lambda point: (point.timestamp, point.step))
    steps = [point.step for point in points]
    if min(steps, default=0) < 0 or (len(points) > 1 and len(set(steps)) == 1):
        points = [point._replace(step=count) for count, point in enumerate(points, 1)]
    began = start if start is not None else min((p.timestamp for p in points), default=0)
    latest = {point.step: point for point in points}
    return tuple(
        Report(step, latest[step].value, max(latest[step].timestamp - began, 0) / 1000)
        for step in sorted(latest)
    )
