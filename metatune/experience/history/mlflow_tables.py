"""MLflow's tracking databases, through SQLAlchemy. Nothing is created, migrated or written."""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from metatune.experience.history.found import LeftOut
from metatune.experience.history.mlflow_record import Experiment, Point, Run
from metatune.experience.history.runs import as_number, is_whole
from metatune.experience.history.servers import read_only

_TABLES = {"experiments", "runs", "params", "metrics", "tags"}


class TrackingTables:
    """A tracking database, given by its URL or as an SQLite file. Raises OSError for a file that
    does not exist, ValueError for whatever is wrong with a URL or a database; no message holds a
    password."""

    def __init__(self, where: str | Path) -> None:
        with _plain_errors():
            self._engine = _read_only(where)
        self._tables = sql.MetaData()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @property
    def recognized(self) -> bool:
        """Whether MLflow's tables are there."""
        with _plain_errors():
            return set(sql.inspect(self._engine).get_table_names()) >= _TABLES

    def experiments(self) -> list[Experiment | LeftOut]:
        """All experiments, deleted ones included."""
        table = self._table("experiments")
        return [
            Experiment(
                str(row["experiment_id"]),
                str(row["name"]),
                _whole(row, "creation_time"),
                row.get("lifecycle_stage") == "deleted",
            )
            for row in self._rows(sql.select(table).order_by(table.c.experiment_id))
        ]

    def runs(self, experiment: Experiment) -> list[Run | LeftOut]:
        """All runs of an experiment, deleted ones included."""
        runs = self._table("runs")
        mine = runs.c.experiment_id == int(experiment.id)
        params, tags = (self._texts(name, mine) for name in ("params", "tags"))
        logged = self._table("metrics")
        named = sql.select(logged.c.run_uuid, logged.c.key).distinct()
        metrics: dict[str, list[str]] = {}
        for row in self._rows(named.join(runs, runs.c.run_uuid == logged.c.run_uuid).where(mine)):
            metrics.setdefault(row["run_uuid"], []).append(str(row["key"]))
        return [
            _run(row, params.get(run, {}), tags.get(run, {}), metrics.get(run, []))
            for row in self._rows(sql.select(runs).where(mine))
            for run in [row["run_uuid"]]
        ]

    def points(self, experiment: Experiment, run: Run, metric: str) -> list[Point]:
        """All that a run logged of a metric."""
        table = self._table("metrics")
        mine = sql.select(table).where(table.c.run_uuid == run.id, table.c.key == metric)
        return [_point(row) for row in self._rows(mine)]

    def _texts(self, name: str, mine: sql.ColumnElement[bool]) -> dict[str, dict[str, str]]:
        """Texts by run and key."""
        runs, table = self._table("runs"), self._table(name)
        query = sql.select(table).join(runs, runs.c.run_uuid == table.c.run_uuid).where(mine)
        texts: dict[str, dict[str, str]] = {}
        for row in self._rows(query):
            texts.setdefault(row["run_uuid"], {})[str(row["key"])] = str(row["value"])
        return texts

    def _table(self, name: str) -> sql.Table:
        with _plain_errors():
            return sql.Table(name, self._tables, autoload_with=self._engine, resolve_fks=False)

    def _rows(self, query: sql.Select[Any]) -> list[dict[str, Any]]:
        with _plain_errors(), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _read_only(where: str | Path) -> Engine:
    if isinstance(where, str):
        url = make_url(where)
        backend = url.get_backend_name()
        if backend != "sqlite":
            return sql.create_engine(url, **read_only(backend))
        where = Path(url.database or "")
    if not where.is_file():
        raise FileNotFoundError(f"there is no file {str(where)!r}")
    address = f"{where.absolute().as_uri()}?mode=ro"
    return sql.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True))


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ImportError) as error:
        # The first line says what is wrong; the others hold the statement and its parameters.
        raise ValueError(str(error).partition("\n")[0]) from None
    except (TypeError, OverflowError, LookupError) as error:
        raise ValueError(f"holds a value of a wrong kind: {error}") from None


def _run(
    row: dict[str, Any], params: dict[str, str], tags: dict[str, str], metrics: list[str]
) -> Run | LeftOut:
    try:
        start, end = _whole(row, "start_time"), _whole(row, "end_time")
    except ValueError as error:
        return LeftOut(f"run {row['run_uuid']}", str(error))
    return Run(
        id=str(row["run_uuid"]),
        name=str(row.get("name") or tags.get("mlflow.runName", "")),
        status=str(row["status"]),
        start=start,
        end=end,
        deleted=row["lifecycle_stage"] == "deleted",
        parent=tags.get("mlflow.parentRunId"),
        params=params,
        metrics=tuple(sorted(metrics)),
    )


def _whole(row: dict[str, Any], key: str) -> int | None:
    value = row.get(key)
    if value is None or is_whole(value):
        return value
    raise ValueError(f"{key} = {value!r} is no whole number")


def _point(row: dict[str, Any]) -> Point:
    """A row of metrics; MLflow keeps infinities as the largest floats, and NaN as a mark."""
    timestamp, step = _whole(row, "timestamp"), _whole(row, "step")
    value = as_number(row["value"])
    if timestamp is None or value is None:
        raise ValueError(f"metric {row['key']!r} has no timestamp or no number {row['value']!r}")
    if row.get("is_nan"):
        value = math.nan
    elif abs(value) >= sys.float_info.max:
        value = math.copysign(math.inf, value)
    return Point(timestamp, value, step or 0)
