"""Tables made from tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from metatune.networks.data.loading import prepare
from metatune.networks.data.reading import read
from metatune.networks.data.tables import Numbers, Table, Text
from metatune.starter import tables
from metatune.starter.generated import GENERATED


def target_of(table: Table) -> Numbers:
    (column,) = table.targets.values()
    return column.codes if isinstance(column, Text) else column


def column_of(table: Table, name: str) -> Numbers:
    column = table.columns[name]
    assert not isinstance(column, Text)
    return column


def test_classes_keep_their_rows() -> None:
    iris = read("iris")
    some = tables.classes(1, 2)(iris)
    kept = np.flatnonzero(target_of(iris) != 0)
    assert np.array_equal(target_of(some), target_of(iris)[kept])
    for name in iris.columns:
        assert np.array_equal(column_of(some, name), column_of(iris, name)[kept])
    assert prepare(some, "some").labels == ("versicolor", "virginica")


def test_rows_are_drawn_without_replacement() -> None:
    iris = read("iris")
    numbered = replace(iris, columns={"row": np.arange(150.0)})
    drawn = column_of(tables.rows(40, 3)(numbered), "row")
    assert len(set(drawn)) == 40
    assert np.array_equal(drawn, np.sort(drawn))
    assert np.array_equal(drawn, column_of(tables.rows(40, 3)(numbered), "row"))
    assert not np.array_equal(drawn, column_of(tables.rows(40, 4)(numbered), "row"))


def test_columns_and_targets_are_chosen() -> None:
    iris, linnerud = read("iris"), read("linnerud")
    assert list(tables.columns(2, 3)(iris).columns) == list(iris.columns)[2:]
    assert list(tables.target("Waist")(linnerud).targets) == ["Waist"]


def test_images_are_cut_and_classes_put_together() -> None:
    digits = read("digits")
    half = tables.top_half()(digits)
    assert half.images is not None
    assert digits.images is not None
    assert np.array_equal(half.images, digits.images[:, :, :4])
    odd = target_of(tables.groups([0, 1] * 5)(digits))
    assert np.array_equal(odd, np.asarray(target_of(digits)) % 2)


def test_half_are_above_the_median() -> None:
    table = tables.above_median()(read("diabetes"))
    assert table.kind == "classification"
    assert target_of(table).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_noise_is_as_large_as_asked_and_the_same_again(name: str) -> None:
    before, after = read(name), tables.noisy(0.5, 1)(read(name))
    again = tables.noisy(0.5, 1)(read(name))
    assert after.digest() == again.digest() != before.digest()
    if before.images is not None and after.images is not None:
        pairs = [(before.images, after.images)]
    else:
        pairs = [(column_of(before, n), column_of(after, n)) for n in before.columns]
    for old, new in pairs:
        assert (new - old).std() == pytest.approx(0.5 * old.std(), rel=0.2)


def test_useless_columns_and_wrong_labels_are_added() -> None:
    iris = read("iris")
    more = tables.useless_columns(3, 1)(iris)
    assert len(more.columns) == len(iris.columns) + 3
    cancer = read("breast_cancer")
    wrong = target_of(tables.wrong_labels(0.1, 1)(cancer)) != target_of(cancer)
    assert wrong.mean() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_is_the_same_again(name: str) -> None:
    table = GENERATED[name][1]()
    assert table.digest() == GENERATED[name][1]().digest()
    assert table.rows >= 200
