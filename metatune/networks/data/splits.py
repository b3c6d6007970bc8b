"""Splits: which rows train, validate and test. They depend on the data and a seed alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metatune.networks.data.tables import Rows

_SHARE = 0.2  # of the rows, for validation and again for test
LEAST_ROWS = 10


class Splits(NamedTuple):
    """Row numbers, ascending, of the three disjoint splits that together are all rows."""

    train: Rows
    validation: Rows
    test: Rows


def split(rows: int, seed: int, classes: npt.NDArray[np.int64] | None = None) -> Splits:
    """60 % of `rows` rows to train on, 20 % to validate, 20 % to test, at random.

    With `classes` [rows] given, each class is split in these shares by itself: of three rows or
    more it has at least one row in every split; two rows go to train and, for even class numbers,
    validation, for odd ones test; a single row goes to train. There must be at least `LEAST_ROWS`
    rows, and on average two a class.
    """
    groups = np.zeros(rows, dtype=np.int64) if classes is None else classes
    places = np.empty(rows, dtype=np.int64)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        places[members[_permutation(len(members), seed, int(group))]] = _places(
            len(members), int(group)
        )
    train, validation, test = (np.flatnonzero(places == place) for place in range(3))
    return Splits(train, validation, test)


def split_rest(
    rows: int, seed: int, test: Rows, classes: npt.NDArray[np.int64] | None = None
) -> Splits:
    """The same where whoever made the data set the rows `test` apart: of the others 80 % train and
    20 % validate; a class of one or two rows trains only."""
    groups = np.zeros(rows, dtype=np.int64) if classes is None else classes
    places = np.zeros(rows, dtype=np.int64)
    places[test] = 2
    for group in np.unique(groups):
        members = np.flatnonzero((groups == group) & (places != 2))
        shuffled = members[_permutation(len(members), seed, int(group))]
        places[shuffled[len(members) - round(_SHARE * len(members)) :]] = 1
    train, validation, _ = (np.flatnonzero(places == place) for place in range(3))
    return Splits(train, validation, np.flatnonzero(places == 2))


def _places(rows: int, group: int) -> npt.NDArray[np.int64]:
    if rows <= 2:
        return np.array([0, 1 + group % 2][:rows])
    held_out = round(_SHARE * rows)  # at least one, of three rows
    return np.repeat([0, 1, 2], [rows - 2 * held_out, held_out, held_out])


def _permutation(rows: int, seed: int, group: int) -> npt.NDArray[np.int64]:
    # Sorting raw bits, because numpy keeps those the same between versions, but not its shuffling.
    bits = np.random.PCG64(np.random.SeedSequence([seed, group])).random_raw(rows)
    return np.argsort(bits, kind="stable")
