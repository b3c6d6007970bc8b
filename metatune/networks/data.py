"""Loading data sets: reading, cleaning and splitting."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from metatune.errors import DataError
from metatune.networks.cleaning import Features, clean, clean_images
from metatune.networks.dataset import Dataset as Dataset
from metatune.networks.dataset import Split as Split
from metatune.networks.reading import read
from metatune.networks.splits import Splits
from metatune.networks.tables import Kind, Table
from metatune.networks.targets import (
    class_targets,
    infer_kind,
    number_targets,
    with_target,
)


def load(
    name: str | Path, target: str | None = None, kind: Kind | None = None, split_seed: int = 0
) -> Dataset:
    """The data set of a built-in name (`reading.BUILT_IN`) or of a CSV, Parquet or NPZ file.

    `target` names the column to predict, "target" if not given (see `reading.read`). Unless `kind`
    says otherwise, a file is a classification where its target is text, or whole numbers of at
    most 20 distinct values that appear twice on average; else a regression. Rows without a target
    are dropped, the others split 60/20/20 by `split_seed`, stratified by class, and cleaned as
    `cleaning` says. Raises TaskError for an unknown name and DataError for data that cannot be
    learned from.
    """
    stem = Path(name).stem
    called = stem if target in (None, "target") else f"{stem}-{target}"
    return prepare(read(name, target), called, kind, split_seed)


def prepare(table: Table, name: str, kind: Kind | None = None, split_seed: int = 0) -> Dataset:
    """The data set `name` of a table, made ready as `load` does; raises DataError."""
    if kind is not None and kind not in get_args(Kind):
        raise DataError(f"{name}: kind = {kind!r} must be one of {get_args(Kind)}")
    table = with_target(table)
    kind = kind or table.kind or infer_kind(table)
    make_targets = class_targets if kind == "classification" else number_targets
    targets = make_targets(table, split_seed)
    inputs, report = _inputs(table, targets.splits)
    train, validation, test = (
        Split(torch.from_numpy(part), torch.from_numpy(targets.values[rows]))
        for part, rows in zip(inputs, targets.splits, strict=True)
    )
    return Dataset(
        name=name,
        kind=kind,
        shape=tuple(train.inputs.shape[1:]),
        labels=targets.labels,
        train=train,
        validation=validation,
        test=test,
        target_center=targets.center,
        target_scale=targets.scale,
        split_seed=split_seed,
        data_hash=hashlib.sha256(f"{kind} {table.digest()}".encode()).hexdigest(),
        report=(*table.notes, *targets.report, *report),
    )


def _inputs(table: Table, splits: Splits) -> tuple[list[Features], list[str]]:
    """Inputs [n, *shape] of the three splits, and what cleaning did."""
    if table.images is not None:
        images, report = clean_images(table.images, splits, table.source)
        return [images[rows] for rows in splits], report
    cleaned = clean(table, splits)
    columns = [column for _, column in cleaned.columns]
    return [np.stack([c[rows] for c in columns], axis=1) for rows in splits], cleaned.report
