"""Trials as rows of an Arrow table, and which of several rows for one trial holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metatune.errors import InputError, StoreError
from metatune.experience.sealed import to_json
from metatune.trial import Checkpoint, Report, Suggestion, Trial, TrialState


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind))


SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("number", pa.int64()),
        ("revision", pa.int64()),
        ("digest", pa.int64()),  # hash of the row: decides between equal revisions
        ("state", pa.string()),
        ("seed", pa.int64()),
        ("config", pa.string()),  # JSON, in the order of the space
        ("optimizer", pa.string()),
        ("tasks", pa.string()),  # JSON
        ("predicted", pa.float64()),
        ("uncertainty", pa.float64()),
        ("guarded", pa.bool_()),
        ("curve_step", _list(pa.int64())),
        ("curve_value", _list(pa.float64())),
        ("curve_seconds", _list(pa.float64())),
        ("value", pa.float64()),
        ("finished_index", pa.int64()),
        ("cost", pa.float64()),
        ("population", pa.string()),
        ("checkpoint", pa.string()),  # JSON
        ("error", pa.string()),
        ("training", pa.string()),  # JSON
    ]
)
KEYS = ("study", "number", "revision", "digest")
_CURVE = ("curve_step", "curve_value", "curve_seconds")
# Fields of a Trial that a reader may leave out: the others have no default, or are needed always.
OPTIONAL_FIELDS = (
    "curve",
    "value",
    "finished_index",
    "cost",
    "population",
    "checkpoint",
    "error",
    "training",
)
_ALWAYS = tuple(n for n in SCHEMA.names if n not in (*OPTIONAL_FIELDS, *_CURVE))


def columns_of(fields: Collection[str] | None) -> list[str]:
    """The columns that hold the given fields of a Trial, all of them for None.

    What tells trials apart, states, seeds and suggestions are always among them. Raises InputError
    naming an unknown field.
    """
    if fields is None:
        return list(SCHEMA.names)
    known = (*OPTIONAL_FIELDS, "study", "number", "revision", "state", "seed", "suggestion")
    for field in fields:
        if field not in known:
            raise InputError(f"columns: {field!r} is no field of a trial; there are {list(known)}")
    wanted = {*_ALWAYS, *fields, *(_CURVE if "curve" in fields else ())}
    return [name for name in SCHEMA.names if name in wanted]


def to_table(trials: Sequence[Trial]) -> pa.Table:
    """One row a trial; raises StoreError naming a trial and the value that cannot be stored."""
    rows = [_row(trial) for trial in trials]
    return pa.table([_column(field, rows) for field in SCHEMA], schema=SCHEMA)


def _row(trial: Trial) -> dict[str, Any]:
    suggestion, checkpoint = trial.suggestion, trial.checkpoint
    saved = checkpoint and [checkpoint.path, checkpoint.step, checkpoint.seconds]
    row = {
        "study": trial.study,
        "number": trial.number,
        "revision": trial.revision,
        "state": str(trial.state),
        "seed": trial.seed,
        "config": _json(trial, "config", suggestion.config, sort_keys=False),
        "optimizer": _text(suggestion.optimizer),
        "tasks": _json(trial, "suggestion.tasks", suggestion.tasks),
        "predicted": suggestion.predicted,
        "uncertainty": suggestion.uncertainty,
        "guarded": suggestion.guarded,
        "curve_step": [report.step for report in trial.curve],
        "curve_value": [report.value for report in trial.curve],
        "curve_seconds": [report.seconds for report in trial.curve],
        "value": trial.value,
        "finished_index": trial.finished_index,
        "cost": trial.cost,
        "population": _text(trial.population),
        "checkpoint": _json(trial, "checkpoint", saved) if saved else None,
        "error": _text(trial.error),
        "training": _json(trial, "training", trial.training),
    }
    content = hashlib.sha256(repr(sorted(row.items())).encode()).digest()
    return row | {"digest": int.from_bytes(content[:8], "big", signed=True)}


def _json(trial: Trial, field: str, value: Any, sort_keys: bool = True) -> str:
    try:
        return to_json(value, sort_keys)
    except (TypeError, ValueError) as error:
        raise StoreError(f"trial {trial.id}: {field} cannot be stored: {error}") from None


def _text(text: str | None) -> str | None:
    """The text with lone surrogates, which error messages may hold, written out."""
    return text and text.encode("utf-8", "backslashreplace").decode()


def _column(field: pa.Field, rows: Sequence[dict[str, Any]]) -> pa.Array:
    try:
        return pa.array([row[field.name] for row in rows], field.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        if len(rows) > 1:
            for row in rows:
                _column(field, [row])
        row, reason = rows[0], " ".join(str(error).split())
        raise StoreError(
            f"trial {row['study']}-{row['number']}: {field.name} = {row[field.name]!r} cannot be "
            f"stored as {field.type}: {reason}"
        ) from None


def newest(keys: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows hold: for each study and number one of the highest revision, [n].

    Between equal revisions the lowest digest decides, whatever file the rows are in.
    """
    order = pc.sort_indices(
        keys,
        sort_keys=[
            ("study", "ascending"),
            ("number", "ascending"),
            ("revision", "descending"),
            ("digest", "ascending"),
        ],
    )
    sorted_keys = keys.select(["study", "number"]).take(order).combine_chunks()
    first = np.ones(len(keys), dtype=bool)
    for name in ("study", "number"):
        column = sorted_keys.column(name)
        changes = pc.not_equal(column[1:], column[:-1]).to_numpy()
        first[1:] = changes if name == "study" else first[1:] | changes
    mask = np.zeros(len(keys), dtype=bool)
    mask[order.to_numpy()[first]] = True
    return mask


def to_trials(table: pa.Table) -> list[Trial]:
    """The trials of the rows in order of study and number; columns left out take the default."""
    rows: Iterable[dict[str, Any]] = table.combine_chunks().to_pylist()
    return sorted((_trial(row) for row in rows), key=lambda trial: (trial.study, trial.number))


def _trial(row: dict[str, Any]) -> Trial:
    values: dict[str, Any] = {name: row[name] for name in OPTIONAL_FIELDS if name in row}
    if values.get("checkpoint") is not None:
        values["checkpoint"] = Checkpoint(*json.loads(values["checkpoint"]))
    if "training" in values:
        values["training"] = json.loads(values["training"])
    if "curve_step" in row:
        points = zip(*(row[name] for name in _CURVE), strict=True)
        values["curve"] = tuple(Report(*point) for point in points)
    suggestion = Suggestion(
        config=json.loads(row["config"]),
        optimizer=row["optimizer"],
        tasks=json.loads(row["tasks"]),
        predicted=row["predicted"],
        uncertainty=row["uncertainty"],
        guarded=row["guarded"],
    )
    return Trial(
        study=row["study"],
        number=row["number"],
        suggestion=suggestion,
        seed=row["seed"],
        state=TrialState(row["state"]),
        revision=row["revision"],
        **values,
    )
