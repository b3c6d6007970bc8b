"""Tables made from tables: some of the classes, columns or rows, with noise, or another target.

Each gives a new table; nothing is drawn but from the seed that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from metatune.networks.data.tables import Column, Rows, Table, Text

Change = Callable[[Table], Table]
Array = npt.NDArray[np.float64]


def classes(*kept: int) -> Change:
    """The rows of these classes, counted from 0 in sorted order."""

    def change(table: Table) -> Table:
        return _of_rows(table, np.flatnonzero(np.isin(_codes(table), kept)))

    return change


def rows(count: int, seed: int) -> Change:
    """So many rows, drawn at random."""

    def change(table: Table) -> Table:
        drawn = np.random.default_rng(seed).permutation(table.rows)[:count]
        return _of_rows(table, np.sort(drawn))

    return change


def columns(*kept: int) -> Change:
    """The columns at these positions."""

    def change(table: Table) -> Table:
        names = list(table.columns)
        return replace(table, columns={names[at]: table.columns[names[at]] for at in kept})

    return change


def target(name: str) -> Change:
    """One of several target columns."""

    def change(table: Table) -> Table:
        return replace(table, targets={name: table.targets[name]})

    return change


def top_half() -> Change:
    """The upper half of each image."""

    def change(table: Table) -> Table:
        images = _images(table)
        return replace(table, images=images[:, :, : images.shape[2] // 2])

    return change


def groups(group_of: Sequence[int]) -> Change:
    """Classes put together: class i becomes class `group_of[i]`."""

    def change(table: Table) -> Table:
        grouped = np.asarray(group_of, dtype=np.float64)[_codes(table)]
        return replace(table, targets={table.target: grouped})

    return change


def above_median() -> Change:
    """A classification: whether the one numeric target is above its median."""

    def change(table: Table) -> Table:
        values = np.asarray(_only_target(table), dtype=np.float64)
        above = (values > np.median(values)).astype(np.float64)
        return replace(table, targets={table.target: above}, kind="classification")

    return change


def noisy(scale: float, seed: int) -> Change:
    """Gaussian noise on every column or pixel, `scale` times its standard deviation."""

    def change(table: Table) -> Table:
        rng = np.random.default_rng(seed)
        if table.images is not None:
            images = table.images
            drawn = rng.normal(size=images.shape) * images.std() * scale
            return replace(table, images=(images + drawn).astype(np.float32))
        return replace(
            table,
            columns={
                name: values + rng.normal(size=len(values)) * values.std() * scale
                for name, values in _numeric(table).items()
            },
        )

    return change


def useless_columns(count: int, seed: int) -> Change:
    """So many more columns of standard normal noise."""

    def change(table: Table) -> Table:
        drawn = np.random.default_rng(seed).normal(size=(count, table.rows))
        added = {f"noise {index}": values for index, values in enumerate(drawn)}
        return replace(table, columns={**table.columns, **added})

    return change


def wrong_labels(share: float, seed: int) -> Change:
    """Another class, drawn at random, in this share of the rows."""

    def change(table: Table) -> Table:
        rng, codes = np.random.default_rng(seed), _codes(table)
        count = int(codes.max()) + 1
        shift = rng.integers(1, count, size=len(codes)) * (rng.random(len(codes)) < share)
        wrong = ((codes + shift) % count).astype(np.float64)
        return replace(table, targets={table.target: wrong})

    return change


def _of_rows(table: Table, kept: Rows) -> Table:
    return replace(table.take(kept, ""), notes=table.notes)


def _only_target(table: Table) -> Column:
    (column,) = table.targets.values()
    return column


def _codes(table: Table) -> npt.NDArray[np.int64]:
    column = _only_target(table)
    if isinstance(column, Text):
        return column.codes
    codes: npt.NDArray[np.int64] = np.unique(column, return_inverse=True)[1].astype(np.int64)
    return codes


def _images(table: Table) -> npt.NDArray[np.float32]:
    if table.images is None:
        raise TypeError(f"{table.source}: has no images")
    return np.asarray(table.images, dtype=np.float32)


def _numeric(table: Table) -> dict[str, Array]:
    return {
        name: np.asarray(column, dtype=np.float64)
        for name, column in table.columns.items()
        if not isinstance(column, Text)
    }
