import numpy as np

from metatune.networks.data.tables import Column, Table, Text, missing, text


def _digest(column: Column, name: str = "x") -> str:
    return Table("here", {name: column}, {"target": np.arange(3)}).digest()


def test_the_digest_is_that_of_the_values() -> None:
    quiet = np.array([0.0, 1.0, np.nan])
    other = np.array([-0.0, 1.0, -np.nan])
    other.view(np.int64)[2] += 1  # another bit pattern that is not a number either
    assert _digest(quiet) == _digest(other) == _digest(quiet.astype(np.float32))
    assert _digest(np.array([0, 1, 2])) == _digest(np.array([0.0, 1.0, 2.0]))
    words = text(np.array(["b", "a", ""]))
    digests = {_digest(quiet), _digest(quiet[::-1]), _digest(quiet, "y"), _digest(words)}
    digests.add(_digest(Text(words.codes, ("a", "c"))))
    assert len(digests) == 5


def test_text_has_sorted_labels_and_empty_strings_are_missing() -> None:
    words = text(np.array(["b", "a", "", "b"]))
    assert words.labels == ("a", "b")
    assert words.codes.tolist() == [1, 0, -1, 1]
    assert missing(words).tolist() == [False, False, True, False]


def test_numbers_that_are_not_finite_or_too_large_count_as_missing() -> None:
    values = np.array([1.0, np.nan, np.inf, -np.inf, 1e200, -1e149])
    assert missing(values).tolist() == [False, True, True, True, True, False]
    assert not missing(np.array([1, 2], dtype=np.int8)).any()


def test_rows_are_taken_with_a_note() -> None:
    table = Table("here", {"x": text(np.array(["a", "b", "c"]))}, {"target": np.arange(3)})
    taken = table.take(np.array([2, 0]), "one row dropped")
    assert taken.rows == 2
    assert taken.notes == ("one row dropped",)
    column = taken.columns["x"]
    assert isinstance(column, Text)
    assert [column.labels[code] for code in column.codes] == ["c", "a"]


def test_signals_documents_and_rows_set_apart_are_part_of_the_digest() -> None:
    target = {"target": np.arange(4)}
    values = np.arange(24.0).reshape(4, 2, 3)
    mails = text(np.array(["a b", "c", "", "a b"]))
    tables = [
        Table("here", {}, target, signals=values),
        Table("here", {}, target, signals=values, test=np.array([3])),
        Table("here", {}, target, signals=values, test=np.array([2])),
        Table("here", {}, target, signals=values.reshape(4, 1, 6)),
        Table("here", {}, target, values[:, None]),
        Table("here", {}, target, documents=mails),
        Table("here", {"mail": mails}, target),
    ]
    assert len({table.digest() for table in tables}) == len(tables)
    assert [table.form for table in tables[3:]] == ["signals", "images", "documents", "columns"]


def test_large_arrays_have_the_digest_of_their_parts() -> None:
    pixels = np.arange(3000 * 4, dtype=np.uint8).reshape(3000, 1, 2, 2)
    whole = Table("here", {}, {"target": np.arange(3000)}, pixels)
    other = Table("there", {}, {"target": np.arange(3000)}, pixels.astype(np.float64))
    assert whole.digest() == other.digest()


def test_rows_set_apart_keep_their_places_where_others_are_dropped() -> None:
    target = {"target": np.arange(6)}
    signals = np.arange(6.0).reshape(6, 1, 1)
    table = Table("here", {}, target, signals=signals, test=np.array([3, 4, 5]))
    taken = table.take(np.array([0, 2, 4, 5]), "two dropped")
    assert taken.test is not None
    assert taken.signals is not None
    assert taken.signals[taken.test].ravel().tolist() == [4.0, 5.0]
