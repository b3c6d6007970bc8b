"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their binary files, by local path.

A record is one byte for each label, then 3 x 32 x 32 bytes: red, green and blue, row by row. The
files and what their bytes mean are described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from metatune.errors import DataError
from metatune.networks.data.tables import Column, Table, text

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Format:
    """The files of a data set, and for each label in a record the file of its names."""

    train: Sequence[str]
    test: str
    labels: Mapping[str, str]


_CIFAR_10 = _Format(
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test_batch.bin",
    {"target": "batches.meta.txt"},
)
_CIFAR_100 = _Format(
    ("train.bin",),
    "test.bin",
    {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"},
)


def read_folder(folder: Path, target: str | None = None) -> Table:
    """The images of a folder of CIFAR's binary files, as bytes; the test file is the test split.

    `target` is "fine", if not given, or "coarse" of CIFAR-100. Raises DataError for a folder of
    other files, or one where some are missing or cut short.
    """
    kind = _format(folder)
    names = list(kind.labels)
    if target is not None and target not in names:
        raise DataError(f"{folder}: there is no target {target!r}; there are {names}")
    chosen = target or names[-1]
    records, rows = _records([folder / name for name in (*kind.train, kind.test)], len(names))
    labels = records[:, names.index(chosen)]
    return Table(
        str(folder),
        {},
        {chosen: _named(labels, folder / kind.labels[chosen])},
        records[:, len(names) :].reshape(-1, *_SHAPE),
        kind="classification",
        test=np.arange(len(records) - rows[-1], len(records)),
    )


def _format(folder: Path) -> _Format:
    for kind in (_CIFAR_10, _CIFAR_100):
        files = [*kind.train, kind.test]
        missing = [name for name in files if not (folder / name).is_file()]
        if not missing:
            return kind
        if len(missing) < len(files):
            raise DataError(f"{folder}: {missing[0]} is missing beside CIFAR's other files")
    raise DataError(
        f"{folder}: a folder must hold CIFAR's binary files, {_CIFAR_10.train[0]} to "
        f"{_CIFAR_10.train[-1]} and {_CIFAR_10.test}, or {_CIFAR_100.train[0]} and "
        f"{_CIFAR_100.test}"
    )


def _records(paths: Sequence[Path], labels: int) -> tuple[npt.NDArray[np.uint8], Sequence[int]]:
    """The records [n, labels + pixels] of files one after another, and how many each has."""
    each = labels + _PIXELS
    sizes = [path.stat().st_size for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if size == 0 or size % each:
            raise DataError(f"{path}: {size} bytes are no whole number of records of {each} bytes")
    rows = [size // each for size in sizes]
    records = np.empty((sum(rows), each), dtype=np.uint8)
    start = 0
    for path, count in zip(paths, rows, strict=True):
        try:
            records[start : start + count] = np.fromfile(path, np.uint8).reshape(count, each)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        start += count
    return records, rows


def _named(labels: npt.NDArray[np.uint8], path: Path) -> Column:
    """The labels by their names, or as numbers where there is no file of names."""
    if not path.is_file():
        return labels
    names = path.read_text(encoding="utf-8", errors="replace").split()
    if len(set(names)) < len(names) or int(labels.max()) >= len(names):
        raise DataError(
            f"{path}: {len(set(names))} distinct names; label {int(labels.max())} needs "
            f"{int(labels.max()) + 1}"
        )
    return text(np.array(names)[labels])
