"""Cleaning: from the columns of a table to features a network can take.

Every statistic (median, mean, standard deviation, categories) is taken from the training rows.

- Numbers: missing, non-finite and absurdly large values become the median; a further column tells
  1 where they were, if any training row is concerned. Then standardised to mean 0 and standard
  deviation 1.
- Text: one 0/1 column a category; missing and unseen categories are 0 in all of them. Of more than
  `MOST_CATEGORIES` only the most frequent ones are kept, and only those seen twice.
- Columns constant in the training rows or equal there to an earlier one are dropped.
- Images and signals: standardised by one mean and standard deviation a channel; values that are
  not finite become 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from metatune.errors import DataError
from metatune.networks.data.splits import Splits
from metatune.networks.data.tables import Numbers, Rows, Table, Text, missing

Features = npt.NDArray[np.float32]

MOST_CATEGORIES = 64
_LIMIT = 1e6  # standard deviations at which values are cut, so that float32 stays finite
_CONSTANT = 1e-12  # standard deviation over largest value below which a column is constant


@dataclass
class Cleaned:
    """Named feature columns, each [rows], and what was done to them."""

    columns: list[tuple[str, Features]] = field(default_factory=list)
    report: list[str] = field(default_factory=list)


def clean(table: Table, splits: Splits) -> Cleaned:
    """The features of a table of columns.

    Raises DataError for a column without any usable value and for a table without any usable
    column.
    """
    cleaned = Cleaned()
    for name, column in table.columns.items():
        if missing(column).all():
            raise DataError(f"{table.source}: column {name!r} has no value that is not missing")
        if isinstance(column, Text):
            _one_hot(cleaned, name, column, splits)
        else:
            _numeric(cleaned, name, column, splits.train)
    _drop_useless(cleaned, splits.train)
    if not cleaned.columns:
        raise DataError(f"{table.source}: every column is constant in the training rows")
    return cleaned


def clean_channels(
    values: Numbers, splits: Splits, source: str
) -> tuple[list[Features], list[str]]:
    """Standardised images [n, channels, height, width] or signals [n, channels, length] of the
    three splits, and what was done to them.

    Nothing but the result is as large as they are. Raises DataError where nothing varies in the
    training rows.
    """
    cleaned = [np.empty((len(rows), *values.shape[1:]), dtype=np.float32) for rows in splits]
    report, constant = [], 0
    for channel in range(values.shape[1]):
        with np.errstate(over="ignore"):
            parts = [values[rows, channel].astype(np.float32) for rows in splits]
        finite = np.isfinite(parts[0])
        known = parts[0].reshape(-1) if finite.all() else parts[0][finite]
        center, scale = center_and_scale(known)
        constant += scale == 0.0
        lost = sum(int((~np.isfinite(part)).sum()) for part in parts)
        if lost:
            report.append(f"channel {channel}: {lost} values not finite, set to the training mean")
        if scale == 0.0:
            report.append(f"channel {channel}: set to 0, it is constant in the training rows")
        for part, standardized in zip(parts, cleaned, strict=True):
            part[~np.isfinite(part)] = center
            standardized[:, channel] = standardize(part, center, scale)
    if constant == values.shape[1]:
        raise DataError(f"{source}: the channels are constant in the training rows")
    return cleaned, report


def center_and_scale(values: Numbers) -> tuple[float, float]:
    """Mean and standard deviation of finite values [n]; the latter is 0 if they do not vary
    beyond rounding."""
    if len(values) == 0:
        return 0.0, 0.0
    center, scale = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    constant = scale <= _CONSTANT * np.abs(values, dtype=np.float64).max()
    return float(center), 0.0 if constant else float(scale)


def standardize(values: Numbers, center: float, scale: float) -> Features:
    """`(values - center) / scale` cut at a million, or 0 where `scale` is 0."""
    if scale == 0.0:
        return np.zeros(values.shape, dtype=np.float32)
    with np.errstate(over="ignore"):
        standardized = (values - center) / scale
    return np.clip(standardized, -_LIMIT, _LIMIT).astype(np.float32)


def _numeric(cleaned: Cleaned, name: str, column: Numbers, train: Rows) -> None:
    values = np.array(column, dtype=np.float64)
    lost = missing(values)
    if lost[train].all():
        cleaned.report.append(f"column {name!r}: dropped, it is missing in every training row")
        return
    if lost.any():
        median = float(np.median(values[train][~lost[train]]))
        values[lost] = median
        cleaned.report.append(
            f"column {name!r}: {lost.sum()} of {len(lost)} values missing or not finite, set to "
            f"the training median {median:g}"
        )
        if lost[train].any():
            cleaned.columns.append((f"{name} is missing", lost.astype(np.float32)))
    center, scale = center_and_scale(values[train])
    cleaned.columns.append((name, standardize(values, center, scale)))


def _one_hot(cleaned: Cleaned, name: str, column: Text, splits: Splits) -> None:
    counts = np.bincount(column.codes[splits.train] + 1, minlength=len(column.labels) + 1)[1:]
    seen = np.flatnonzero(counts)
    kept = seen
    if len(seen) > MOST_CATEGORIES:
        frequent = seen[np.argsort(-counts[seen], kind="stable")][:MOST_CATEGORIES]
        kept = np.sort(frequent[counts[frequent] >= 2])
    for code in kept:
        is_code = (column.codes == code).astype(np.float32)
        cleaned.columns.append((f"{name} = {column.labels[code]}", is_code))
    lost = missing(column)
    if lost[splits.train].any():
        cleaned.columns.append((f"{name} is missing", lost.astype(np.float32)))
    report = f"column {name!r}: text, {len(kept)} categories as 0/1 columns"
    if len(kept) < len(seen):
        report += f", {len(seen) - len(kept)} rarer ones as 0 in all of them"
    held_out = column.codes[np.concatenate([splits.validation, splits.test])]
    unseen = int(((held_out >= 0) & (counts[held_out] == 0)).sum())
    if unseen:
        report += f", {unseen} held-out rows of categories not seen in training likewise"
    cleaned.report.append(report)


def _drop_useless(cleaned: Cleaned, train: Rows) -> None:
    first: dict[bytes, str] = {}
    kept = []
    for name, column in cleaned.columns:
        known = column[train]
        if known.min() == known.max():
            cleaned.report.append(f"column {name!r}: dropped, it is constant in the training rows")
            continue
        digest = hashlib.sha256(known.tobytes()).digest()
        if digest in first:
            cleaned.report.append(
                f"column {name!r}: dropped, it equals {first[digest]!r} in the training rows"
            )
            continue
        first[digest] = name
        kept.append((name, column))
    cleaned.columns = kept
