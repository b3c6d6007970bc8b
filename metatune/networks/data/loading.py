"""Loading data sets: reading, cleaning and splitting."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch

from metatune.errors import DataError
from metatune.networks.data.cleaning import Features, clean, clean_channels
from metatune.networks.data.dataset import Dataset as Dataset
from metatune.networks.data.dataset import Split as Split
from metatune.networks.data.documents import clean_documents
from metatune.networks.data.reading import read
from metatune.networks.data.splits import Splits
from metatune.networks.data.tables import Kind, Table
from metatune.networks.data.targets import (
    class_targets,
    infer_kind,
    number_targets,
    with_target,
)
from metatune.networks.data.task_metric import task_metric
from metatune.networks.data.tokens import FIRST, TokenShape


def load(
    name: str | Path,
    target: str | None = None,
    kind: Kind | None = None,
    split_seed: int = 0,
    metric: str | None = None,
) -> Dataset:
    """The data set of a built-in name (`reading.BUILT_IN`), of a CSV, Parquet or NPZ file, or of a
    folder of CIFAR's binary files.

    `target` names the column to predict, "target" if not given (see `reading.read`). Unless `kind`
    says otherwise, a file is a classification where its target is text, or whole numbers of at
    most 20 distinct values that appear twice on average; else a regression. Rows without a target
    are dropped, the others split 60/20/20 by `split_seed`, stratified by class, unless the data
    say which rows are to test on, and cleaned as `cleaning` and `documents` say. `metric` is what
    the task is measured by, if not by the validation loss (see `task_metric`). Raises TaskError for
    an unknown name or metric and DataError for data that cannot be learned from.
    """
    stem = Path(name).stem
    called = stem if target in (None, "target") else f"{stem}-{target}"
    return prepare(read(name, target), called, kind, split_seed, metric)


def prepare(
    table: Table,
    name: str,
    kind: Kind | None = None,
    split_seed: int = 0,
    metric: str | None = None,
) -> Dataset:
    """The data set `name` of a table, made ready as `load` does; raises DataError."""
    if kind is not None and kind not in get_args(Kind):
        raise DataError(f"{name}: kind = {kind!r} must be one of {get_args(Kind)}")
    table = with_target(table)
    kind = kind or table.kind or infer_kind(table)
    make_targets = class_targets if kind == "classification" else number_targets
    targets = make_targets(table, split_seed)
    inputs = _inputs(table, targets.splits)
    train, validation, test = (
        Split(torch.from_numpy(part), torch.from_numpy(targets.values[rows]))
        for part, rows in zip(inputs.parts, targets.splits, strict=True)
    )
    return Dataset(
        name=name,
        kind=kind,
        shape=inputs.shape,
        labels=targets.labels,
        train=train,
        validation=validation,
        test=test,
        target_center=targets.center,
        target_scale=targets.scale,
        split_seed=split_seed,
        data_hash=hashlib.sha256(f"{kind} {table.digest()}".encode()).hexdigest(),
        report=(*table.notes, *targets.report, *inputs.report),
        words=inputs.words,
        metric=task_metric(metric, kind, targets.labels, name),
    )


class _Inputs(NamedTuple):
    """Inputs [n, *shape] of the three splits, what cleaning did, and the words of token ids."""

    parts: list[Features]
    report: list[str]
    words: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.parts[0].shape[1:]
        return TokenShape(shape, FIRST + len(self.words)) if self.words else shape


def _inputs(table: Table, splits: Splits) -> _Inputs:
    if table.documents is not None:
        tokens, words, report = clean_documents(table.documents, splits, table.source)
        return _Inputs(tokens, report, words)
    channels = table.images if table.images is not None else table.signals
    if channels is not None:
        return _Inputs(*clean_channels(channels, splits, table.source))
    cleaned = clean(table, splits)
    columns = [column for _, column in cleaned.columns]
    parts = [np.stack([c[rows] for c in columns], axis=1) for rows in splits]
    return _Inputs(parts, cleaned.report)
