"""Reading tables: real data that comes with scikit-learn, and CSV, Parquet and NPZ files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from sklearn import datasets as sklearn_datasets

from metatune.errors import DataError, TaskError
from metatune.networks.tables import Column, Kind, Numbers, Table, Text, text

_BUILT_IN: Mapping[str, tuple[Kind, Callable[..., Any]]] = {
    "iris": ("classification", sklearn_datasets.load_iris),
    "wine": ("classification", sklearn_datasets.load_wine),
    "breast_cancer": ("classification", sklearn_datasets.load_breast_cancer),
    "digits": ("classification", sklearn_datasets.load_digits),
    "diabetes": ("regression", lambda: sklearn_datasets.load_diabetes(scaled=False)),
    "linnerud": ("regression", sklearn_datasets.load_linnerud),
}
BUILT_IN = tuple(_BUILT_IN)

_MISSING = ["", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "NULL", "null"]
_READ_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError, ValueError, zipfile.BadZipFile)


def read(name: str | Path, target: str | None = None) -> Table:
    """The table of a built-in data set (see `BUILT_IN`) or of a CSV, Parquet or NPZ file.

    `target` names the column or array to predict; without it, it is the one called "target".
    Built-in sets have their own; of linnerud's three a single one may be named. Raises TaskError
    for an unknown name, DataError for a file that cannot be used.
    """
    if str(name) in _BUILT_IN:
        return _built_in(str(name), target)
    path = Path(name).expanduser()
    if path.suffix.lower() not in _READERS:
        raise TaskError(
            f"task {str(name)!r} is unknown; give one of {list(BUILT_IN)} or a file that ends in "
            f"{', '.join(_READERS)}"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        return _READERS[path.suffix.lower()](path, target or "target")
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from error


def _built_in(name: str, target: str | None) -> Table:
    kind, load = _BUILT_IN[name]
    bunch = load()
    values = bunch.target.reshape(len(bunch.target), -1)
    names = bunch.target_names if kind == "regression" and values.shape[1] > 1 else ["target"]
    targets: dict[str, Column] = {str(key): values[:, i] for i, key in enumerate(names)}
    if kind == "classification" and name != "digits":
        labels = [str(label) for label in bunch.target_names]
        targets = {"target": text(np.array(labels)[bunch.target])}
    if target is not None:
        _check_target(targets, target, name)
        targets = {target: targets[target]}
    if name == "digits":
        return Table(name, {}, targets, bunch.images[:, None].astype(np.float32), kind)
    columns = {str(key): bunch.data[:, i] for i, key in enumerate(bunch.feature_names)}
    return Table(name, columns, targets, kind=kind)


def _csv(path: Path, target: str) -> Table:
    table = pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(null_values=_MISSING, strings_can_be_null=True),
    )
    return _from_arrow(table, path, target)


def _parquet(path: Path, target: str) -> Table:
    return _from_arrow(pyarrow.parquet.read_table(path), path, target)


def _from_arrow(table: Any, path: Path, target: str) -> Table:
    names = [str(name) for name in table.column_names]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: column {name!r} appears {names.count(name)} times")
    _check_target(names, target, path)
    columns: dict[str, Column] = {}
    notes = []
    for name in names:
        if re.fullmatch(r"__index_level_\d+__", name):
            notes.append(f"column {name!r}: dropped, the row index that pandas wrote")
        else:
            columns[name] = _arrow_column(table.column(name), name, path)
    targets = {target: columns.pop(target)}
    return Table(str(path), columns, targets, notes=tuple(notes))


def _arrow_column(column: Any, name: str, path: Path) -> Column:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _arrow_text(column)
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        stamps = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return np.asarray(stamps.to_numpy() / 86_400e6)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DataError(
            f"{path}: column {name!r} holds {kind}; numbers, booleans, dates and text can be used"
        )
    return np.asarray(column.to_numpy())


def _arrow_text(column: Any) -> Text:
    encoded = pc.dictionary_encode(column.combine_chunks())
    labels = np.array(encoded.dictionary.to_pylist(), dtype=str)
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    ordered = text(labels)
    return Text(np.where(codes < 0, -1, np.append(ordered.codes, -1)[codes]), ordered.labels)


def _npz(path: Path, target: str) -> Table:
    columns: dict[str, Column] = {}
    images: Numbers | None = None
    with np.load(path, allow_pickle=False) as file:
        _check_target(file.files, target, path)
        targets = _array_columns(file[target], target, path)
        rows = len(file[target])
        for name in file.files:
            if name == target:
                continue
            array = file[name]
            if array.shape[:1] != (rows,):
                raise DataError(
                    f"{path}: array {name!r} has shape {array.shape}, but {target!r} {rows} rows"
                )
            if array.ndim in (3, 4):
                if images is not None or array.dtype.kind not in "fiub":
                    raise DataError(f"{path}: array {name!r} must be the only images, of numbers")
                images = array.reshape(rows, -1, *array.shape[-2:])
            else:
                new = _array_columns(array, name, path)
                for key in columns.keys() & new.keys():
                    raise DataError(f"{path}: column {key!r} appears twice")
                columns |= new
    if images is not None and columns:
        raise DataError(f"{path}: images cannot be mixed with the columns {list(columns)}")
    return Table(str(path), columns, targets, images)


def _array_columns(array: npt.NDArray[Any], name: str, path: Path) -> dict[str, Column]:
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise DataError(
            f"{path}: array {name!r} has shape {array.shape}; rows [n], tables [n, columns] and "
            f"images [n, height, width] or [n, channels, height, width] can be used"
        )
    if array.dtype.kind not in "fiubUM":
        raise DataError(
            f"{path}: array {name!r} holds {array.dtype}; numbers, booleans, dates and text can "
            f"be used"
        )
    parts = (
        {name: array}
        if array.ndim == 1
        else {f"{name}[{index}]": array[:, index] for index in range(array.shape[1])}
    )
    return {key: _array_column(values) for key, values in parts.items()}


def _array_column(values: npt.NDArray[Any]) -> Column:
    if values.dtype.kind == "U":
        return text(values)
    if values.dtype.kind == "b":
        return values.astype(np.float64)
    if values.dtype.kind == "M":
        days = values.astype("datetime64[us]").astype(np.int64) / 86_400e6
        return np.asarray(np.where(np.isnat(values), np.nan, days))
    return values


def _check_target(names: Collection[str], target: str, source: object) -> None:
    if target not in names:
        shown = ", ".join(repr(name) for name in list(names)[:10])
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        raise DataError(
            f"{source}: there is no target column {target!r}; the columns are {shown}{more}"
        )


_READERS: Mapping[str, Callable[[Path, str], Table]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".npz": _npz,
}
