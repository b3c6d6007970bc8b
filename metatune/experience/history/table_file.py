"""Trials in a table: CSV, JSON or Parquet, one row a trial or one row a report."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metatune.errors import DataError
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut
from metatune.experience.history.literals import is_missing, number, parsed
from metatune.experience.history.table_rows import ENDINGS, Row, read_rows
from metatune.parameters import Value
from metatune.space import Config
from metatune.task import Report
from metatune.trial import TrialState

TOOL = "table"
_STATES = {
    TrialState.COMPLETE: "complete completed finished done success succeeded ok terminated",
    TrialState.PRUNED: "pruned stopped early_stopped",
    TrialState.FAILED: "fail failed error crashed killed",
    TrialState.RUNNING: "running waiting pending queued scheduled",
}
_STATE_OF = {word: state for state, words in _STATES.items() for word in words.split()}
_DURATION = re.compile(r"(?:(\d+) days?,? )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


@dataclass(frozen=True)
class _Columns:
    """Which columns say what; the others say nothing."""

    metric: str
    parameters: tuple[str, ...]
    trial: str | None
    step: str | None
    state: str | None
    seconds: str | None


def recognizes(address: str) -> bool:
    """Whether `address` is a file that by its ending is CSV, TSV, JSON, JSON lines or Parquet."""
    path = Path(address)
    return path.suffix.lower() in ENDINGS and path.is_file()


def read(
    address: str,
    metric: str | None = None,
    *,
    parameters: Sequence[str] | None = None,
    trial: str | None = None,
    step: str | None = None,
    state: str | None = None,
    seconds: str | None = None,
) -> list[FoundStudy]:
    """The one study of a table whose columns are the `metric`, the `parameters` (all that are
    nothing else, if None) and, where named, which `trial` a row is of, the `step` of its report,
    the `state` that the trial ended in and the `seconds` it took.

    Several rows of one `trial` are its learning curve, in order of `step` or as they stand.
    `seconds` are those since the trial began then. Without a `trial` each row is one. Without a
    `metric` nothing is read but which columns could be it. Texts stay what they are.

    Raises DataError for a file that cannot be read, for a column that it does not have and for a
    parameter that is given for something else too.
    """
    path = Path(address)
    rows, left_out = read_rows(path)
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    asked = {"metric": metric, "trial": trial, "step": step, "state": state, "seconds": seconds}
    given = [("parameter", name) for name in parameters or ()]
    for what, column in [*asked.items(), *given]:
        if column is not None and column not in names:
            raise DataError(f"{path}: there is no column {column!r} for the {what}; it has {names}")
    if step is not None and trial is None:
        raise DataError(
            f"{path}: with a step column {step!r}, name the column that tells the trial"
        )
    taken = {column: what for what, column in asked.items() if column is not None}
    for _, column in given:
        if column in taken:
            what = taken[column]
            raise DataError(f"{path}: column {column!r} is given for the {what} and as a parameter")
    others = tuple(name for name in names if name not in taken)
    metrics = (metric,) if metric else tuple(n for n in others if _is_numeric(rows, n))
    found: tuple[FoundTrial, ...] = ()
    if metric is not None:
        chosen = others if parameters is None else tuple(parameters)
        columns = _Columns(metric, chosen, trial, step, state, seconds)
        found = _trials(rows, columns, left_out)
    return [FoundStudy("table", path.stem, TOOL, found, metric, None, metrics, {}, tuple(left_out))]


def _is_numeric(rows: Sequence[tuple[str, Row]], name: str) -> bool:
    values = [row[name] for _, row in rows if name in row]
    return all(number(value) is not None for value in values)


def _trials(
    rows: Sequence[tuple[str, Row]], columns: _Columns, left_out: list[LeftOut]
) -> tuple[FoundTrial, ...]:
    """The trials in order of their first row; what is wrong with others is added to `left_out`."""
    grouped: dict[str, list[Row]] = {}
    for where, row in rows:
        if columns.trial is None:
            grouped[where] = [row]
        elif columns.trial not in row or is_missing(row[columns.trial]):
            left_out.append(LeftOut(where, f"has no {columns.trial!r}"))
        else:
            grouped.setdefault(str(row[columns.trial]), []).append(row)
    found, seen = [], Counter[str]()
    for where, group in grouped.items():
        key = where
        if columns.trial is None:
            # What a row says tells it apart, in a table that grew or was sorted too.
            row = group[0]
            said = [(n, row[n]) for n in (*columns.parameters, columns.metric) if n in row]
            content = hashlib.sha256(repr(said).encode()).hexdigest()[:12]
            seen[content] += 1
            key = f"{content}-{seen[content]}"
        try:
            found.append(_trial(key, group, columns))
        except ValueError as error:
            what = where if columns.trial is None else f"trial {where}"
            left_out.append(LeftOut(what, str(error)))
    return tuple(found)


def _trial(key: str, rows: Sequence[Row], columns: _Columns) -> FoundTrial:
    """The trial of some rows; raises ValueError saying what is wrong with them."""
    is_long = columns.step is not None or len(rows) > 1
    seconds = [_seconds(row, columns.seconds) for row in rows]
    curve = _curve(rows, columns, seconds) if is_long else ()
    value = None if is_long else _number(rows[0], columns.metric)
    states = [row[columns.state] for row in rows if columns.state and columns.state in row]
    state = _state(states[-1]) if states else TrialState.COMPLETE
    if state is TrialState.RUNNING:
        raise ValueError("is still running")
    if value is None and not curve and state is not TrialState.FAILED:
        raise ValueError(f"has no {columns.metric!r}")
    return FoundTrial(
        key=key,
        config=_config(rows, columns.parameters),
        state=state,
        curve=curve,
        value=value,
        seconds=max(seconds),
        error=f"{columns.state} {states[-1]!r}" if state is TrialState.FAILED else None,
    )


def _config(rows: Sequence[Row], parameters: Sequence[str]) -> Config:
    """What all rows that say something of a parameter say of it."""
    config: Config = {}
    for row in rows:
        for name in parameters:
            if name not in row or is_missing(row[name]):
                continue
            if config.setdefault(name, row[name]) != row[name]:
                raise ValueError(
                    f"{name} = {config[name]!r} and {row[name]!r}: rows of one trial must agree"
                )
    return config


def _curve(rows: Sequence[Row], columns: _Columns, seconds: Sequence[float]) -> tuple[Report, ...]:
    """The reports in order of step; of two at a step the later row holds."""
    reports: dict[int, Report] = {}
    for index, row in enumerate(rows):
        value = _number(row, columns.metric)
        if value is None:
            continue  # of a step at which something else was measured
        step = index + 1 if columns.step is None else _step(row, columns.step)
        reports[step] = Report(step, value, seconds[index])
    return tuple(reports[step] for step in sorted(reports))


def _step(row: Row, column: str) -> int:
    step = number(row.get(column))
    if step is None or not step.is_integer() or step < 0:
        raise ValueError(f"{column} = {row.get(column)!r} is no whole number from 0")
    return int(step)


def _number(row: Row, column: str) -> float | None:
    """The number in a cell, None where it is empty."""
    if column not in row or parsed(row[column]) is None:
        return None
    found = number(row[column])
    if found is None:
        raise ValueError(f"{column} = {row[column]!r} is no number")
    return found


def _seconds(row: Row, column: str | None) -> float:
    """Seconds, written as a number or as `1 days 02:03:04.5`; 0 where there are none."""
    if column is None or is_missing(row.get(column, "")):
        return 0.0
    match = _DURATION.fullmatch(str(row[column]))
    if match is not None:
        days, hours, minutes, rest = match.groups()
        return int(days or 0) * 86400.0 + int(hours) * 3600.0 + int(minutes) * 60.0 + float(rest)
    found = _number(row, column)
    if found is None or not 0.0 <= found < float("inf"):
        raise ValueError(f"{column} = {row[column]!r} is no time in seconds")
    return found


def _state(value: Value) -> TrialState:
    word = str(value).rpartition(".")[2].strip().lower()
    if word not in _STATE_OF:
        raise ValueError(f"ended as {value!r}, which is none of {sorted(_STATE_OF)}")
    return _STATE_OF[word]
