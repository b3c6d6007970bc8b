"""Reading tables: real data that is there anyway, CSV, Parquet and NPZ files, CIFAR's folders."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from sklearn import datasets as sklearn_datasets

from metatune.errors import DataError, TaskError
from metatune.networks.data import cifar
from metatune.networks.data.arrays import read_npz
from metatune.networks.data.docstrings import docstrings
from metatune.networks.data.documents import are_documents
from metatune.networks.data.tables import Column, Kind, Table, Text, check_target, text

_BUILT_IN: Mapping[str, tuple[Kind, Callable[..., Any]]] = {
    "iris": ("classification", sklearn_datasets.load_iris),
    "wine": ("classification", sklearn_datasets.load_wine),
    "breast_cancer": ("classification", sklearn_datasets.load_breast_cancer),
    "digits": ("classification", sklearn_datasets.load_digits),
    "diabetes": ("regression", lambda: sklearn_datasets.load_diabetes(scaled=False)),
    "linnerud": ("regression", sklearn_datasets.load_linnerud),
    "digits_sequence": ("classification", sklearn_datasets.load_digits),
    "docstrings": ("classification", docstrings),
}
BUILT_IN = tuple(_BUILT_IN)
SCIKIT_LEARN = BUILT_IN[:6]  # those that are taken as scikit-learn has them
DOCUMENTS = "text"  # the column of a table that holds documents, if it is not the only one

_MISSING = ["", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-nan", "NULL", "null"]
_READ_ERRORS = (
    *(pa.ArrowException, OSError, UnicodeDecodeError, ValueError, EOFError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)


def read(name: str | Path, target: str | None = None) -> Table:
    """The table of a built-in data set (see `BUILT_IN`), of a CSV, Parquet or NPZ file, or of a
    folder of CIFAR's binary files (see `cifar`).

    `target` names the column or array to predict; without it, it is the one called "target".
    Built-in sets have their own; of linnerud's three a single one may be named. The only column
    beside the target, or else the column `DOCUMENTS`, is taken as documents where it reads as such
    (`documents.are_documents`), and other columns are left out. Raises TaskError for an unknown
    name, DataError for what cannot be used.
    """
    if str(name) in _BUILT_IN:
        return _built_in(str(name), target)
    path = Path(name).expanduser()
    if path.is_dir():
        return cifar.read_folder(path, target)
    if path.suffix.lower() not in _READERS:
        raise TaskError(
            f"task {str(name)!r} is unknown; give one of {list(BUILT_IN)}, a file that ends in "
            f"{', '.join(_READERS)}, or a folder of CIFAR's binary files"
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
    if name == "docstrings":
        return _of_documents(name, bunch, target)
    values = bunch.target.reshape(len(bunch.target), -1)
    names = bunch.target_names if kind == "regression" and values.shape[1] > 1 else ["target"]
    targets: dict[str, Column] = {str(key): values[:, i] for i, key in enumerate(names)}
    if kind == "classification" and not name.startswith("digits"):
        labels = [str(label) for label in bunch.target_names]
        targets = {"target": text(np.array(labels)[bunch.target])}
    if target is not None:
        check_target(targets, target, name)
        targets = {target: targets[target]}
    if name == "digits":
        return Table(name, {}, targets, bunch.images[:, None].astype(np.float32), kind)
    if name == "digits_sequence":
        pixels = bunch.data[:, None].astype(np.float32)
        return Table(name, {}, targets, kind=kind, signals=pixels)
    columns = {str(key): bunch.data[:, i] for i, key in enumerate(bunch.feature_names)}
    return Table(name, columns, targets, kind=kind)


def _of_documents(
    name: str, labels_and_texts: tuple[list[str], list[str]], target: str | None
) -> Table:
    labels, found = labels_and_texts
    targets: dict[str, Column] = {"target": text(np.array(labels))}
    check_target(targets, target or "target", name)
    return Table(name, {}, targets, kind="classification", documents=text(np.array(found)))


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
    check_target(names, target, path)
    columns: dict[str, Column] = {}
    notes = []
    for name in names:
        if re.fullmatch(r"__index_level_\d+__", name):
            notes.append(f"column {name!r}: dropped, the row index that pandas wrote")
        else:
            columns[name] = _arrow_column(table.column(name), name, path)
    targets = {target: columns.pop(target)}
    name = next(iter(columns)) if len(columns) == 1 else DOCUMENTS
    documents = columns.get(name)
    if isinstance(documents, Text) and are_documents(documents):
        notes.append(f"column {name!r}: read as documents")
        notes += [
            f"column {other!r}: left out beside documents" for other in columns if other != name
        ]
        return Table(str(path), {}, targets, notes=tuple(notes), documents=documents)
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
    # Objects, for strings of one width would take each as long as the longest document.
    labels = np.array(encoded.dictionary.to_pylist(), dtype=object)
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    ordered = text(labels)
    return Text(np.where(codes < 0, -1, np.append(ordered.codes, -1)[codes]), ordered.labels)


_READERS: Mapping[str, Callable[[Path, str], Table]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".npz": read_npz,
}
