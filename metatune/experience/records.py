"""Trials as rows of an Arrow table, and which of several rows for one trial holds."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metatune.errors import DamagedFileError, InputError, StoreError
from metatune.experience.limits import MOST_JSON_BYTES, MOST_TRIAL_BYTES
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
# What may be unknown of a trial; everything else is there in every row.
_NULLABLE = (
    "predicted",
    "uncertainty",
    "value",
    "finished_index",
    "population",
    "checkpoint",
    "error",
)
_STATES = pa.array([str(state) for state in TrialState], pa.string())
# Paths of the columns in a Parquet file, and whether each holds lists.
LEAVES = {
    f"{field.name}.list.element" if field.name in _CURVE else field.name: field.name in _CURVE
    for field in SCHEMA
}
_MOST_ERROR = 1 << 18
_BY_NAME = {str(state): state for state in TrialState}
_DECODE = json.JSONDecoder().raw_decode


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
    table = pa.table([_column(field, rows) for field in SCHEMA], schema=SCHEMA)
    if table.nbytes > MOST_TRIAL_BYTES:
        for index, trial in enumerate(trials):
            if (size := table.slice(index, 1).nbytes) > MOST_TRIAL_BYTES:
                raise StoreError(
                    f"trial {trial.id} cannot be stored: it has {size:,} bytes, with "
                    f"{len(trial.curve):,} reports, and at most {MOST_TRIAL_BYTES:,} are kept"
                )
    return table


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
        "error": _shortened(_text(trial.error)),
        "training": _json(trial, "training", trial.training),
    }
    content = hashlib.sha256(repr(sorted(row.items())).encode()).digest()
    return row | {"digest": int.from_bytes(content[:8], "big", signed=True)}


def _json(trial: Trial, field: str, value: Any, sort_keys: bool = True) -> str:
    try:
        text = to_json(value, sort_keys)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"trial {trial.id}: {field} cannot be stored: {error}") from None
    if len(text) > MOST_JSON_BYTES:
        raise StoreError(
            f"trial {trial.id}: {field} cannot be stored: it has {len(text):,} characters as JSON, "
            f"and at most {MOST_JSON_BYTES:,} are kept"
        )
    return text


def _text(text: str | None) -> str | None:
    """The text with lone surrogates, which error messages may hold, written out."""
    return text and text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str | None) -> str | None:
    """The text, without its middle where it is longer than what any error has to say."""
    if text is None or len(text) <= _MOST_ERROR:
        return text
    half = _MOST_ERROR // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


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


def check_rows(table: pa.Table) -> None:
    """Raise DamagedFileError where rows cannot be those of trials; JSON is not looked into."""
    try:
        _check_rows(table)
    except ValueError as error:
        raise DamagedFileError(" ".join(str(error).split())) from None


def check_json(table: pa.Table) -> None:
    """Raise DamagedFileError naming a trial whose JSON is none, or not what is stored there."""
    keys = {name: table[name].to_pylist() for name in ("study", "number")}
    for name in _CHECKS:
        if name in table.column_names:
            _parsed(name, {**keys, name: table[name].to_pylist()})


def _check_rows(table: pa.Table) -> None:
    table.validate(full=True)
    for name in table.column_names:
        if name not in _NULLABLE and table[name].null_count:
            raise ValueError(f"{name} is missing in some row")
    if (
        "state" in table.column_names
        and pc.any(pc.invert(pc.is_in(table["state"], _STATES))).as_py()
    ):
        raise ValueError("a row is in no state that trials have")
    if _CURVE[0] in table.column_names:
        steps, values, seconds = (table[name].combine_chunks() for name in _CURVE)
        for other in (values, seconds):
            if not pc.list_value_length(steps).equals(pc.list_value_length(other)):
                raise ValueError("a curve has not as many values or times as steps")
        if any(curve.flatten().null_count for curve in (steps, values, seconds)):
            raise ValueError("a curve lacks a step, value or time")


def to_trials(table: pa.Table) -> list[Trial]:
    """The trials of the rows in order of study and number; columns left out take the default.

    Raises DamagedFileError naming a trial whose JSON is none, or not what is stored there.
    """
    with _uncollected():
        return _trials(table)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which finds nothing in so many new objects, and would look at
    all there are in the process again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _trials(table: pa.Table) -> list[Trial]:
    rows = {name: table[name].to_pylist() for name in table.column_names}
    parsed = {name: _parsed(name, rows) for name in _CHECKS if name in rows}
    curves: Iterable[tuple[Report, ...]] = repeat(())
    if "curve_step" in rows:
        curves = (
            tuple(map(Report, *curve)) for curve in zip(*(rows[n] for n in _CURVE), strict=True)
        )
    suggestions = map(
        Suggestion,
        parsed["config"],
        rows["optimizer"],
        parsed["tasks"],
        rows["predicted"],
        rows["uncertainty"],
        rows["guarded"],
    )
    trials = map(
        Trial,
        rows["study"],
        rows["number"],
        suggestions,
        rows["seed"],
        map(_BY_NAME.__getitem__, rows["state"]),
        curves,
        rows.get("value", repeat(None)),
        rows.get("finished_index", repeat(None)),
        rows["revision"],
        rows.get("cost", repeat(0.0)),
        rows.get("population", repeat(None)),
        parsed.get("checkpoint", repeat(None)),
        rows.get("error", repeat(None)),
        parsed.get("training", iter(dict, None)),
    )
    return sorted(trials, key=attrgetter("study", "number"))


def _parsed(name: str, rows: Mapping[str, list[Any]]) -> list[Any]:
    """What the JSON in a column says, row by row; equal texts are the same object, but for
    configurations, which a trainable may change."""
    check = _CHECKS[name]
    known: dict[str | None, Any] = {None: None}
    values = []
    for index, text in enumerate(rows[name]):
        if text not in known or name == "config":
            try:
                known[text] = check(_parse(text))
            except (ValueError, RecursionError) as error:
                trial = f"{rows['study'][index]}-{rows['number'][index]}"
                raise DamagedFileError(f"trial {trial}: {name}: {error}") from None
        values.append(known[text])
    return values


def _parse(text: str) -> Any:
    if len(text) > MOST_JSON_BYTES:
        raise ValueError(f"JSON of {len(text)} characters, more than {MOST_JSON_BYTES}")
    value, end = _DECODE(text)
    if end != len(text):
        raise ValueError(f"JSON goes on after its end: {text[end : end + 40]!r}")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:40]!r} is no mapping")
    return value


def _mapping_of(kinds: frozenset[type]) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        mapping = _mapping(value)
        if not kinds.issuperset(map(type, mapping.values())):
            raise ValueError(f"{str(mapping)[:80]!r} holds what cannot be there")
        return mapping

    return check


def _checkpoint(saved: Any) -> Checkpoint:
    match saved:
        case [str(path), int(step), int() | float() as seconds]:
            return Checkpoint(path, step, seconds)
    raise ValueError(f"{str(saved)[:80]!r} is no checkpoint")


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "config": _mapping_of(frozenset((str, int, float, bool, type(None)))),
    "tasks": _mapping_of(frozenset((int, float))),
    "checkpoint": _checkpoint,
    "training": _mapping,
}
