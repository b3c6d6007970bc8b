"""The files that Ray Tune keeps of one trial and of one experiment. None of its pickles is read."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metatune.experience.history.found import LeftOut
from metatune.experience.history.runs import (
    as_number,
    as_seconds,
    extend,
    flat_config,
    is_whole,
    leaves,
    parse_json,
)
from metatune.space import Config
from metatune.task import Report

RESULTS, TABLE, PARAMETERS, ERROR = "result.json", "progress.csv", "params.json", "error.txt"
FILES = {RESULTS, TABLE, PARAMETERS, ERROR}
_STATES = "experiment_state-*.json"
_STEP, _SECONDS = "training_iteration", "time_total_s"
# What Ray Tune adds to the results of a trial (AUTO_RESULT_KEYS and DEBUG_METRICS of its result.py,
# and what versions before 2.8 added).
_OWN = {
    *(_STEP, _SECONDS, "time_this_iter_s", "time_since_restore", "timestamp", "date", "done"),
    *("trial_id", "experiment_id", "experiment_tag", "pid", "hostname", "node_ip", "config"),
    *("checkpoint_dir_name", "should_checkpoint", "iterations_since_restore", "warmup_time"),
    *("timesteps_total", "timesteps_since_restore", "timesteps_this_iter"),
    *("episodes_total", "episodes_this_iter"),
}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FAILURE = re.compile(r"^Failure # \d+ \(occurred at ([-_\d]+)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Recorded:
    """What the experiment's own record says of a trial when it was last written."""

    status: str
    last: Mapping[str, Any]
    criterion: Mapping[str, Any]
    config: Mapping[str, Any] | None


@dataclass(frozen=True)
class ExperimentState:
    """The experiment's own record: its metric, when it began, and its trials by folder name."""

    metric: str | None = None
    session: str | None = None
    trials: Mapping[str, Recorded] = field(default_factory=dict)
    problem: LeftOut | None = None


@dataclass
class Results:
    """What a trial reported: `curve` of the metric wanted, the `metrics` there are, the `last`
    result as it was logged. `damaged` counts lines that are no result."""

    curve: list[Report] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)
    last: dict[str, Any] = field(default_factory=dict)
    damaged: int = 0
    config_changed: bool = False

    @property
    def step(self) -> int:
        """Training iteration of the last result, 0 before the first."""
        return int(self.last.get(_STEP, 0))

    @property
    def seconds(self) -> float:
        """How long the trial took."""
        return as_seconds(self.last.get(_SECONDS))

    def add(self, row: dict[str, Any], metric: str | None) -> None:
        """Take one result in; raises ValueError where it has no valid training iteration."""
        step = row.get(_STEP)
        if not is_whole(step) or step < 0:
            raise ValueError(f"{_STEP} = {step!r} is no whole number from 0")
        before = self.last.get("config")
        # NaN is unlike itself, its text is not.
        if before is not None and row.get("config") not in (None, before):
            self.config_changed |= str(row["config"]) != str(before)
        for name, value in leaves({k: v for k, v in row.items() if k not in _OWN}, "/"):
            number = as_number(value)
            if number is not None:
                self.metrics.add(name)
                if name == metric:
                    extend(self.curve, Report(step, number, as_seconds(row.get(_SECONDS))))
        self.last = row


def read_results(folder: Path, metric: str | None) -> Results:
    """Results of a trial, from progress.csv where result.json holds none. Raises OSError."""
    results = _gather(_json_rows(folder / RESULTS), metric)
    if not results.last:
        table = _gather(_csv_rows(folder / TABLE), metric)
        if table.last:
            table.damaged += results.damaged
            return table
    return results


def read_config(folder: Path, others: list[Any]) -> Config:
    """Configuration of a trial, from its results or the experiment's record where params.json is
    lost; raises ValueError if there is none, OSError."""
    problem = f"{PARAMETERS} is missing"
    path = folder / PARAMETERS
    if path.is_file():
        try:
            config = parse_json(path.read_bytes())
        except ValueError as error:
            problem = f"{PARAMETERS}: {error}"
        else:
            if isinstance(config, dict):
                return flat_config(config, "/")
            problem = f"{PARAMETERS} holds no configuration"
    for config in others:
        if isinstance(config, Mapping):
            return flat_config(config, "/")
    raise ValueError(problem)


def read_failure(folder: Path) -> tuple[str, str] | None:
    """When a trial failed last, as Ray Tune writes dates, and with what; None if it never did."""
    path = folder / ERROR
    if not path.is_file():
        return None
    text = _ANSI.sub("", path.read_text(encoding="utf-8", errors="replace"))
    headings = list(_FAILURE.finditer(text))
    if not headings:
        return "9999", text
    return headings[-1][1], text[headings[-1].end() :]


def read_state(folder: Path) -> ExperimentState:
    """The newest record of an experiment, empty but for `problem` where it cannot be read."""
    paths = sorted(folder.glob(_STATES))
    if not paths:
        return ExperimentState()
    session = paths[0].stem.partition("-")[2]
    try:
        state = parse_json(paths[-1].read_bytes())
        metric = state["runner_data"].get("_metric")
        trials = dict(_recorded(*map(parse_json, pair)) for pair in state["trial_data"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"{error or type(error).__name__}; how trials ended is taken from their own files"
        return ExperimentState(session=session, problem=LeftOut(paths[-1].name, reason))
    return ExperimentState(metric if isinstance(metric, str) else None, session, trials)


def _recorded(trial: dict[str, Any], run: dict[str, Any]) -> tuple[str, Recorded]:
    name = Path(str(trial.get("relative_logdir") or "")).name or str(trial["trial_id"])
    last = run.get("last_result")
    criterion, config = trial.get("stopping_criterion"), trial.get("config")
    return name, Recorded(
        str(trial["status"]),
        last if isinstance(last, Mapping) else {},
        criterion if isinstance(criterion, Mapping) else {},
        config if isinstance(config, Mapping) else None,
    )


def _gather(rows: Iterator[dict[str, Any] | None], metric: str | None) -> Results:
    results = Results()
    for row in rows:
        try:
            if row is None:
                raise ValueError("no result")
            results.add(row, metric)
        except (ValueError, RecursionError):
            results.damaged += 1
    return results


def _json_rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """One result a line, None for a line that is none."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = parse_json(line)
            except ValueError:
                row = None
            yield row if isinstance(row, dict) else None


def _csv_rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """One result a line, cells as numbers and booleans where they are such."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        while True:
            try:
                row = next(reader, None)
            except csv.Error:
                yield None
                continue
            if row is None:
                return
            cut = None in row or None in row.values()
            yield None if cut else {key: _cell(text) for key, text in row.items()}


def _cell(text: str) -> str | int | float | bool:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
