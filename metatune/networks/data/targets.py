"""Targets: whether a table asks for classes or numbers, and these made ready to learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metatune.errors import DataError
from metatune.networks.data.cleaning import center_and_scale, standardize
from metatune.networks.data.splits import LEAST_ROWS, Splits, split, split_rest
from metatune.networks.data.tables import Kind, Rows, Table, Text, missing

_MOST_NUMBERED_CLASSES = 20

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Targets:
    """What is to be predicted, and the splits, which follow from it.

    `values` are class numbers [n] in int64, or standardised targets [n, outputs] in float32;
    `labels` name the classes, or the outputs. `center` and `scale` [outputs] take a standardised
    target back to its own unit.
    """

    values: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    labels: tuple[str, ...]
    center: Vector
    scale: Vector
    splits: Splits
    report: tuple[str, ...] = ()


def with_target(table: Table) -> Table:
    """The table without the rows that lack a target; raises DataError if none is left."""
    for name, column in table.targets.items():
        if missing(column).all():
            raise DataError(f"{table.source}: target {name!r} has no value that is not missing")
    lost = np.logical_or.reduce([missing(column) for column in table.targets.values()])
    if not lost.any():
        return table
    note = f"{lost.sum()} of {table.rows} rows dropped, their target is missing or not finite"
    return table.take(np.flatnonzero(~lost), note)


def infer_kind(table: Table) -> Kind:
    """Classification if the one target is text, or whole numbers of at most 20 distinct values
    that appear twice on average; else regression. No target may be missing."""
    columns = list(table.targets.values())
    if len(columns) > 1:
        return "regression"
    if isinstance(columns[0], Text):
        return "classification"
    values = np.unique(columns[0])
    few = len(values) <= min(_MOST_NUMBERED_CLASSES, table.rows / 2)
    return "classification" if few and (values == np.round(values)).all() else "regression"


def class_targets(table: Table, split_seed: int) -> Targets:
    """The one target of a table as classes, in sorted order, and splits stratified by them."""
    where = f"{table.source}: target {table.target!r}"
    if len(table.targets) > 1:
        raise DataError(f"{where} has {len(table.targets)} columns; a classification needs one")
    column = next(iter(table.targets.values()))
    codes = column.codes if isinstance(column, Text) else column
    values, classes = np.unique(codes, return_inverse=True)
    if isinstance(column, Text):
        labels = tuple(column.labels[code] for code in values)
    else:
        labels = tuple(f"{value:.17g}" for value in values)
    if len(labels) == 1:
        raise DataError(f"{where} has one class only, {labels[0]!r}; at least two are needed")
    if 2 * len(labels) > table.rows:
        raise DataError(
            f"{where} has {len(labels)} classes in {table.rows} rows; there must be at least two "
            f"rows a class on average, or the kind be 'regression'"
        )
    _check_rows(table)
    counts = np.bincount(classes)
    report = tuple(
        f"target {table.target!r}: class {labels[number]!r} stands in {counts[number]} of "
        f"{table.rows} rows, too few to be in every split"
        for number in np.flatnonzero(counts < 3)
    )
    splits = _split(table, split_seed, classes)
    outputs = len(labels)
    return Targets(
        classes.astype(np.int64), labels, np.zeros(outputs), np.ones(outputs), splits, report
    )


def number_targets(table: Table, split_seed: int) -> Targets:
    """The targets of a table as numbers, standardised by the training rows, and the splits."""
    _check_rows(table)
    splits = _split(table, split_seed)
    standardized, centers, scales = [], [], []
    for name, column in table.targets.items():
        where = f"{table.source}: target {name!r}"
        if isinstance(column, Text):
            raise DataError(f"{where} is text; a regression needs numbers")
        values = np.asarray(column, dtype=np.float64)
        center, scale = center_and_scale(values[splits.train])
        if scale == 0.0:
            raise DataError(f"{where} is constant in the training rows; nothing can be learned")
        standardized.append(standardize(values, center, scale))
        centers.append(center)
        scales.append(scale)
    return Targets(
        np.stack(standardized, axis=1),
        tuple(table.targets),
        np.array(centers),
        np.array(scales),
        splits,
    )


def _split(table: Table, seed: int, classes: Rows | None = None) -> Splits:
    if table.test is None:
        return split(table.rows, seed, classes)
    splits = split_rest(table.rows, seed, table.test, classes)
    if not all(len(rows) for rows in splits):
        raise DataError(
            f"{table.source}: {table.rows - len(table.test)} rows to train and validate, "
            f"{len(table.test)} to test, are too few"
        )
    return splits


def _check_rows(table: Table) -> None:
    if table.rows < LEAST_ROWS:
        raise DataError(
            f"{table.source}: {table.rows} rows with a target {table.target!r} are too few to "
            f"train, validate and test; give at least {LEAST_ROWS}"
        )
