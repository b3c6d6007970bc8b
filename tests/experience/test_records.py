"""Trials as rows."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from itertools import permutations
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import exactly, make_study, make_trial, trials

from metatune.errors import InputError, StoreError
from metatune.experience.records import (
    KEYS,
    OPTIONAL_FIELDS,
    SCHEMA,
    columns_of,
    newest,
    to_table,
    to_trials,
)
from metatune.experience.store import ExperienceStore
from metatune.trial import Suggestion, Trial


@given(st.lists(trials("s"), unique_by=lambda trial: trial.number, max_size=4))
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_back_equal(written: list[Trial]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = ExperienceStore(folder)
        store.put_study(make_study())
        store.append(written)
        expected = sorted(written, key=lambda trial: trial.number)
        assert exactly(store.trials(study="s")) == exactly(expected)
        assert exactly(to_trials(to_table(written))) == exactly(expected)


@given(st.lists(trials("s"), max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_one_row_of_the_highest_revision_holds_whatever_their_order(
    written: list[Trial], random: st.DataObject
) -> None:
    table = to_table(written)
    order = list(range(len(written)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = table.take(pa.array(order, pa.int64()))
    held = [exactly(to_trials(t.filter(newest(t.select(KEYS))))) for t in (table, shuffled)]
    assert held[0] == held[1]
    kept = to_trials(table.filter(newest(table.select(KEYS))))
    assert [t.number for t in kept] == sorted({t.number for t in written})
    for trial in kept:
        assert trial.revision == max(t.revision for t in written if t.number == trial.number)


def test_of_equal_revisions_the_same_holds_in_any_order() -> None:
    rows = [to_table([make_trial(0, value=float(value))]) for value in range(4)]
    held = set()
    for order in permutations(rows):
        table = pa.concat_tables(order)
        held |= {t.value for t in to_trials(table.filter(newest(table.select(KEYS))))}
    assert len(held) == 1


def test_columns_left_out_take_the_default() -> None:
    trial = make_trial(error="boom", training={"epochs": 3}, population="p")
    columns = columns_of(("value",))
    assert not {"curve_step", "error", "training"} & set(columns)
    (read,) = to_trials(to_table([trial]).select(columns))
    assert read.value == trial.value
    assert (read.curve, read.error, read.training, read.population) == ((), None, {}, None)
    assert (read.suggestion, read.seed, read.state) == (trial.suggestion, 0, trial.state)


def test_every_field_of_a_trial_can_be_asked_for_and_no_other() -> None:
    names = [field.name for field in fields(Trial)]
    assert columns_of(names) == columns_of(None) == SCHEMA.names
    assert set(OPTIONAL_FIELDS) < set(names)
    with pytest.raises(InputError, match="columns: 'curves' is no field of a trial; there are"):
        columns_of(("value", "curves"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 2**63}, "trial s-1: seed = 9223372036854775808 cannot be stored as int64"),
        ({"value": "good"}, "trial s-1: value = 'good' cannot be stored as double"),
        ({"training": {"a": {1, 2}}}, r"trial s-1: training cannot be stored: \{1, 2\} is neither"),
        (
            {"suggestion": Suggestion({"x": cast(int, np.int64(3))}, "r")},
            "trial s-1: config cannot be stored",
        ),
    ],
)
def test_a_value_that_cannot_be_stored_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        to_table([make_trial(0), make_trial(1, **values)])


def test_text_that_is_no_valid_unicode_does_not_stop_an_error_from_being_stored() -> None:
    (read,) = to_trials(to_table([make_trial(error="no file \udcff")]))
    assert read.error == "no file \\udcff"
