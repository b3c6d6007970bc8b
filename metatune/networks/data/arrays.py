"""Reading tables, images and signals from the arrays of an NPZ file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metatune.errors import DataError
from metatune.networks.data.tables import Column, Numbers, Table, check_target, text

SIGNALS = "signals"  # the array that holds signals


def read_npz(path: Path, target: str) -> Table:
    """The table of an NPZ file: rows [n] and tables [n, columns] are columns, images are [n,
    height, width] or [n, channels, height, width], and the array `SIGNALS` [n, length] or [n,
    channels, length]. Raises DataError for arrays that cannot be used, or not together."""
    columns: dict[str, Column] = {}
    images: Numbers | None = None
    signals: Numbers | None = None
    with np.load(path, allow_pickle=False) as file:
        check_target(file.files, target, path)
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
            if name == SIGNALS:
                signals = _signals(array, path)
            elif array.ndim in (3, 4):
                if images is not None or array.dtype.kind not in "fiub":
                    raise DataError(f"{path}: array {name!r} must be the only images, of numbers")
                images = array.reshape(rows, -1, *array.shape[-2:])
            else:
                new = _array_columns(array, name, path)
                for key in columns.keys() & new.keys():
                    raise DataError(f"{path}: column {key!r} appears twice")
                columns |= new
    if images is not None and signals is not None:
        raise DataError(f"{path}: images and signals cannot be mixed")
    if columns and not (images is None and signals is None):
        what = "images" if signals is None else "signals"
        raise DataError(f"{path}: {what} cannot be mixed with the columns {list(columns)}")
    return Table(str(path), columns, targets, images, signals=signals)


def _signals(array: npt.NDArray[Any], path: Path) -> Numbers:
    if array.ndim not in (2, 3) or array.dtype.kind not in "fiub" or 0 in array.shape[1:]:
        raise DataError(
            f"{path}: array {SIGNALS!r} has shape {array.shape} and holds {array.dtype}; it must "
            f"be [n, length] or [n, channels, length], of numbers"
        )
    return array.reshape(len(array), -1, array.shape[-1])


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
