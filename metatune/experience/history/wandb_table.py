"""Run tables as W&B's web page exports them as CSV, one row a run.

Behind the columns about the run stand its settings, then what it measured at last, each part in
alphabetical order; nothing else tells them apart. So where the order begins anew, what was measured
begins. Where it does not, what stands behind the metric was measured, and before it what by its
name is no setting. Either way it is listed, as left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from metatune.errors import DataError
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut
from metatune.experience.history.literals import number
from metatune.experience.history.runs import as_seconds, assemble, choose_metric
from metatune.experience.history.table_rows import Row, read_rows
from metatune.task import Report
from metatune.trial import TrialState

TOOL = "wandb"
_ABOUT = {
    *("Name", "State", "ID", "Notes", "User", "Tags", "Created", "Updated", "End Time", "Runtime"),
    *("Sweep", "Agent", "Group", "Job Type", "Project", "Entity", "Host", "Hostname", "Path"),
    *("Command", "Commit", "Git Commit", "Description", "OS", "Python Version"),
    *("CPU Count", "GPU Count", "GPU Type"),
}
_NEEDED, _ONE_OF = {"Name", "State"}, {"Created", "Runtime", "User", "Tags", "Sweep"}
_STATES = {
    "finished": TrialState.COMPLETE,
    "failed": TrialState.FAILED,
    "killed": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "preempted": TrialState.UNKNOWN,
    "crashed": TrialState.UNKNOWN,  # its end was never heard of
    "running": TrialState.RUNNING,
    "pending": TrialState.RUNNING,
    "preempting": TrialState.RUNNING,
}
# Last words of names that are measured, not set.
_MEASURED = {
    *("loss", "acc", "accuracy", "error", "f1", "auc", "auroc", "mse", "rmse", "mae", "mape", "r2"),
    *("perplexity", "ppl", "bleu", "score", "reward"),
    *("epoch", "step", "iteration", "runtime", "timestamp"),
}
_WORD = re.compile(r"[A-Za-z0-9]+")


def is_run_table(path: Path) -> bool:
    """Whether a file is CSV with the columns that W&B's tables have."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    try:
        header = set(_header(path))
    except (OSError, ValueError, csv.Error):
        return False
    return header >= _NEEDED and bool(header & _ONE_OF)


def read_run_table(path: Path, asked: str | None) -> FoundStudy:
    """The study of a run table; raises DataError if it cannot be read or has no such metric."""
    rows, left_out = read_rows(path)
    columns = [name for name in _header(path) if name and name not in _ABOUT]
    if asked is not None and asked not in columns:
        raise DataError(f"{path}: there is no column {asked!r}; there are {columns}")
    settings, measured, why = _divide(columns, asked, rows)
    numeric = [name for name in measured if _is_numeric(name, rows)]
    metric = choose_metric(asked, None, numeric)
    others = [name for name in measured if name != metric]
    if others:
        left_out.append(LeftOut(f"columns {', '.join(others)}", f"were measured, not set: {why}"))
    found: list[FoundTrial | LeftOut] = [*left_out]
    keys: set[str] = set()
    for where, row in rows:
        trial = _trial(where, row, settings, metric)
        if isinstance(trial, FoundTrial) and trial.key in keys:
            trial = LeftOut(where, f"is called {trial.key!r} as another; export the column ID too")
        elif isinstance(trial, FoundTrial):
            keys.add(trial.key)
        found.append(trial)
    names = {*numeric, *([] if metric is None else [metric])}
    return assemble("run table", path.stem, TOOL, found, metric, names)


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [name.strip() for name in next(csv.reader(file), [])]


def _divide(
    columns: Sequence[str], metric: str | None, rows: Sequence[tuple[str, Row]]
) -> tuple[list[str], list[str], str]:
    """Columns that are settings, those that were measured, and how they were told apart."""
    for order in (str, str.casefold):
        begin = _second_part(columns, order)
        if begin is not None and metric not in columns[:begin]:
            why = f"from {columns[begin]!r} on the alphabet begins anew, as where W&B exports these"
            settings = [name for name in columns[:begin] if not name.startswith("_")]
            return settings, [name for name in columns if name not in settings], why
    end = len(columns) if metric is None else columns.index(metric)
    settings = [name for name in columns[:end] if not _sounds_measured(name, rows)]
    measured = [name for name in columns if name not in settings]
    return settings, measured, "by their names, or because they stand behind the metric"


def _second_part(columns: Sequence[str], order: Callable[[str], str]) -> int | None:
    """Where the one part in alphabetical order ends and the other begins; None if not so."""
    keys = [order(name) for name in columns]
    falls = [at for at in range(1, len(keys)) if keys[at] < keys[at - 1]]
    return falls[0] if len(falls) == 1 else None


def _sounds_measured(name: str, rows: Sequence[tuple[str, Row]]) -> bool:
    words = _WORD.findall(name.lower())
    known = name.startswith("_") or "/" in name or (bool(words) and words[-1] in _MEASURED)
    return known and _is_numeric(name, rows)


def _is_numeric(name: str, rows: Sequence[tuple[str, Row]]) -> bool:
    cells = [row[name] for _, row in rows if name in row]
    return bool(cells) and all(number(cell) is not None for cell in cells)


def _trial(
    where: str, row: Row, settings: Sequence[str], metric: str | None
) -> FoundTrial | LeftOut:
    word = str(row.get("State", "")).strip().lower()
    state = _STATES.get(word)
    if state is None:
        return LeftOut(where, f"its state is {word!r}, which is none of {sorted(_STATES)}")
    if "Name" not in row and "ID" not in row:
        return LeftOut(where, "has neither a name nor an ID")
    key = str(row["ID"]) if "ID" in row else f"{row['Name']}@{row.get('Created', '')}".rstrip("@")
    config = {name: row[name] for name in settings if name in row}
    if not config:
        return LeftOut(where, "has no configuration")
    value = number(row[metric]) if metric in row else None
    if metric in row and value is None:
        return LeftOut(where, f"{metric} = {row[metric]!r} is no number")
    if state is TrialState.UNKNOWN and value is None:
        state = TrialState.FAILED
    seconds = as_seconds(number(row.get("Runtime")))
    if state is TrialState.FAILED:
        return FoundTrial(key, config, state, (), None, seconds, f"W&B says {word}")
    return FoundTrial(key, config, state, _curve(row, state, value, seconds), value, seconds)


def _curve(row: Row, state: TrialState, value: float | None, seconds: float) -> tuple[Report, ...]:
    """Of a trial that ended early, its value at the step it had come to, where that is known."""
    step = number(row.get("_step"))
    if not state.is_partial or value is None or step is None or not 0 <= step < 2**63:
        return ()
    return (Report(int(step), value, seconds),)
