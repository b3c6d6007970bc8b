import contextlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from metatune.errors import DataError, TaskError
from metatune.networks.data.loading import Dataset, load
from metatune.networks.data.reading import BUILT_IN

Columns = Mapping[str, Any]


def _csv(path: Path, columns: Columns) -> Path:
    pyarrow.csv.write_csv(pa.table(dict(columns)), path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def _parquet(path: Path, columns: Columns) -> Path:
    pyarrow.parquet.write_table(pa.table(dict(columns)), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def _npz(path: Path, columns: Columns) -> Path:
    np.savez(path.with_suffix(".npz"), **columns)
    return path.with_suffix(".npz")


def _columns(rows: int = 40, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "height": rng.normal(170, 10, rows),
        "age": rng.integers(20, 60, rows),
        "colour": np.array(["red", "green", "blue"])[np.arange(rows) % 3],
        "target": np.array(["no", "yes"])[rng.permutation(np.arange(rows) % 2)],
    }


def _same(one: Dataset, two: Dataset) -> bool:
    tensors = [
        torch.equal(a, b)
        for part in ("train", "validation", "test")
        for a, b in zip(
            (getattr(one, part).inputs, getattr(one, part).targets),
            (getattr(two, part).inputs, getattr(two, part).targets),
            strict=True,
        )
    ]
    return all(tensors) and one.data_hash == two.data_hash and one.labels == two.labels


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "docstrings"])
def test_built_in_sets_are_split_standardised_and_described(name: str) -> None:
    dataset = load(name)
    assert dataset.kind == ("regression" if name in ("diabetes", "linnerud") else "classification")
    assert len(dataset.train) / dataset.rows == pytest.approx(0.6, abs=0.03)
    assert dataset.shape == dataset.test.inputs.shape[1:]
    assert dataset.train.inputs.dtype == torch.float32
    assert float(dataset.train.inputs.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(dataset.train.inputs.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    if dataset.kind == "regression":
        assert dataset.train.targets.shape == (len(dataset.train), dataset.outputs)
        assert dataset.train.targets.mean(0).abs().max() < 1e-5
    else:
        assert set(dataset.train.targets.tolist()) == set(range(dataset.outputs))
    task = dataset.task()
    assert (task.name, task.metric, task.direction) == (name, "validation_loss", "minimize")
    assert task.data_hash == dataset.data_hash
    assert task.metafeatures["rows"] == dataset.rows
    assert all(np.isfinite(value) for value in task.metafeatures.values())
    assert task == load(name).task()


def test_digits_are_images() -> None:
    assert load("digits").shape == (1, 8, 8)
    assert load("iris").labels == ("setosa", "versicolor", "virginica")


def test_one_target_of_several_may_be_named() -> None:
    whole, one = load("linnerud"), load("linnerud", "Waist")
    assert whole.labels == ("Weight", "Waist", "Pulse")
    assert (one.name, one.labels) == ("linnerud-Waist", ("Waist",))
    assert one.train.targets.shape == (12, 1)
    assert torch.equal(one.train.targets[:, 0], whole.train.targets[:, 1])
    with pytest.raises(DataError, match=r"linnerud: there is no target column 'Height'.*'Waist'"):
        load("linnerud", "Height")


def test_the_same_columns_give_the_same_data_set_from_every_kind_of_file(tmp_path: Path) -> None:
    columns = _columns()
    csv, parquet, npz = (write(tmp_path / "people", columns) for write in (_csv, _parquet, _npz))
    dataset = load(csv)
    assert (dataset.name, dataset.kind, dataset.labels) == (
        "people",
        "classification",
        ("no", "yes"),
    )
    assert dataset.shape == (5,)
    assert _same(dataset, load(parquet))
    assert _same(dataset, load(npz))
    other = load(csv, "age")
    assert (other.name, other.kind) == ("people-age", "regression")
    assert other.data_hash != dataset.data_hash


def test_what_is_missing_is_the_same_in_every_kind_of_file(tmp_path: Path) -> None:
    colour = np.array(["red", "green", ""])[np.arange(40) % 3]
    height = np.where(np.arange(40) % 4 == 0, np.nan, np.arange(40) * 0.1)
    columns = _numbers() | {"colour": colour, "height": height}
    nulls = columns | {
        "colour": [str(word) or None for word in colour],
        "height": [None if np.isnan(value) else value for value in height],
    }
    dataset = load(_npz(tmp_path / "gaps", columns))
    assert dataset.shape == (6,)  # red, green, colour is missing, height is missing, height, age
    assert _same(dataset, load(_csv(tmp_path / "gaps", nulls)))
    assert _same(dataset, load(_parquet(tmp_path / "gaps", nulls)))
    words = (tmp_path / "gaps.csv").read_text().replace(",\n", ",?\n").replace("\n,", "\nNA,")
    assert min(words.count("?"), words.count("NA")) == 10
    (tmp_path / "words.csv").write_text(words)
    assert _same(dataset, load(tmp_path / "words.csv"))


def test_the_data_hash_and_splits_do_not_depend_on_the_process(tmp_path: Path) -> None:
    path = _csv(tmp_path / "people", _columns())
    code = (
        "import sys; from metatune.networks.data.loading import load; d = load(sys.argv[1]);"
        "print(d.data_hash, d.test.inputs.flatten().tolist(), d.task().metafeatures)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
    )
    here = load(path)
    flat = here.test.inputs.flatten().tolist()
    assert done.stdout.strip() == f"{here.data_hash} {flat} {here.task().metafeatures}"


def test_images_come_from_npz(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (30, 3, 6, 5)).astype(np.uint8)
    images[:, 1] = 7
    target = np.arange(30) % 2
    dataset = load(_npz(tmp_path / "pictures", {"images": images, "target": target}))
    assert dataset.shape == (3, 6, 5)
    assert dataset.train.inputs[:, 0].std() == pytest.approx(1.0, abs=1e-2)
    assert not dataset.train.inputs[:, 1].any()
    assert dataset.report == ("channel 1: set to 0, it is constant in the training rows",)
    gray = load(_npz(tmp_path / "gray", {"images": images[:, 0], "target": target}))
    assert gray.shape == (1, 6, 5)
    assert torch.equal(gray.train.inputs[:, 0], dataset.train.inputs[:, 0])


def test_several_targets_of_an_npz_are_a_regression(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 4))
    path = _npz(tmp_path / "two", {"x": table, "target": table[:, :2] * [1.0, 50.0] + 3.0})
    dataset = load(path)
    assert (dataset.kind, dataset.labels) == ("regression", ("target[0]", "target[1]"))
    back = dataset.test.targets.numpy() * dataset.target_scale + dataset.target_center
    assert back.std(axis=0)[1] > 10 * back.std(axis=0)[0]


def _numbers(rows: int = 40) -> dict[str, Any]:
    columns = _columns(rows)
    return {name: columns[name] for name in ("height", "age", "target")}


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ([f"{n % 3}" for n in range(40)], "classification"),
        ([n % 20 for n in range(40)], "classification"),
        ([float(n % 4) for n in range(40)], "classification"),
        ([bool(n % 2) for n in range(40)], "classification"),
        ([None if n == 5 else n % 2 for n in range(40)], "classification"),
        ([n % 21 for n in range(60)], "regression"),
        ([n % 4 + 0.5 for n in range(40)], "regression"),
        (list(range(12)), "regression"),
    ],
)
def test_the_kind_is_inferred_and_can_be_given(
    tmp_path: Path, target: list[Any], kind: str
) -> None:
    path = _parquet(tmp_path / "kinds", _numbers(len(target)) | {"target": target})
    assert load(path).kind == kind
    if not isinstance(target[0], str):
        assert load(path, kind="regression").kind == "regression"


def test_standardisation_uses_training_rows_only(tmp_path: Path) -> None:
    columns = _numbers(50) | {"target": np.linspace(0.0, 1.0, 50)}
    columns["age"] = np.where(np.arange(50) % 5 == 0, np.nan, columns["age"])
    before = load(_parquet(tmp_path / "one", columns))
    held_out = _held_out_rows(columns, before)
    changed = {name: np.array(values, dtype=float) for name, values in columns.items()}
    for values in changed.values():
        values[held_out] = values[held_out] * 1000.0 + 7.0
    after = load(_parquet(tmp_path / "two", changed))
    assert torch.equal(before.train.inputs, after.train.inputs)
    assert torch.equal(before.train.targets, after.train.targets)
    assert np.array_equal(before.target_center, after.target_center)
    assert not torch.equal(before.test.inputs, after.test.inputs)


def _held_out_rows(columns: Columns, dataset: Dataset) -> list[int]:
    """Rows whose target stands in validation or test."""
    own = [
        float(value) * dataset.target_scale[0] + dataset.target_center[0]
        for part in (dataset.validation, dataset.test)
        for value in part.targets
    ]
    return [int(np.abs(columns["target"] - value).argmin()) for value in own]


def test_what_is_missing_is_imputed_and_told(tmp_path: Path) -> None:
    rows = 200
    columns = _numbers(rows)
    height = np.round(columns["height"])
    height[[3, 50, 120]] = [np.nan, np.inf, -np.inf]
    target = [None if n == 7 else value for n, value in enumerate(columns["target"])]
    path = _parquet(tmp_path / "gaps", columns | {"height": height, "target": target})
    dataset = load(path)
    assert dataset.rows == rows - 1
    assert all(torch.isfinite(part.inputs).all() for part in (dataset.train, dataset.test))
    assert dataset.report[0] == "1 of 200 rows dropped, their target is missing or not finite"
    assert dataset.report[1].startswith(
        "column 'height': 3 of 199 values missing or not finite, set to the training median 1"
    )
    assert dataset.shape == (3,)  # height is missing, height, age


def test_useless_columns_are_dropped_and_told(tmp_path: Path) -> None:
    columns = _numbers()
    extra = {"one": np.ones(40), "copy": columns["age"], "word": np.array(["same"] * 40)}
    dataset = load(_npz(tmp_path / "useless", extra | columns))
    assert dataset.shape == (2,)
    assert set(dataset.report) >= {
        "column 'one': dropped, it is constant in the training rows",
        "column 'age': dropped, it equals 'copy' in the training rows",
        "column 'word = same': dropped, it is constant in the training rows",
    }


def test_unseen_categories_are_zero_in_all_columns(tmp_path: Path) -> None:
    columns = _numbers(50) | {"target": np.linspace(0.0, 1.0, 50)}
    held_out = _held_out_rows(columns, load(_parquet(tmp_path / "before", columns)))
    colour = np.array(["red", "green"], dtype="<U9")[np.arange(50) % 2]
    colour[held_out[0]] = "new"
    dataset = load(_parquet(tmp_path / "after", columns | {"colour": colour}))
    assert dataset.shape == (4,)
    words = dataset.validation.inputs[:, 2:]
    assert sorted(words.sum(dim=1).tolist()) == [0.0] + [1.0] * (len(words) - 1)
    assert dataset.report == (
        "column 'colour': text, 2 categories as 0/1 columns, 1 held-out rows of categories not "
        "seen in training likewise",
    )


def test_of_many_categories_the_frequent_ones_are_kept(tmp_path: Path) -> None:
    rows = 600
    word = [f"rare {n}" if n % 3 == 0 else f"word {n % 80}" for n in range(rows)]
    dataset = load(_csv(tmp_path / "words", _numbers(rows) | {"word": word}))
    assert dataset.shape == (2 + 64,)
    name = [f"person {n}" for n in range(rows)]
    assert load(_csv(tmp_path / "names", _numbers(rows) | {"name": name})).shape == (2,)


def test_a_date_counts_in_days(tmp_path: Path) -> None:
    dates = np.datetime64("2020-01-01") + np.arange(40)
    written = load(_parquet(tmp_path / "dates", _numbers() | {"date": dates}))
    assert _same(written, load(_csv(tmp_path / "dates", _numbers() | {"date": dates})))
    assert _same(written, load(_npz(tmp_path / "dates", _numbers() | {"date": dates})))
    days = load(_npz(tmp_path / "days", _numbers() | {"date": np.arange(40) + 18262}))
    torch.testing.assert_close(written.train.inputs, days.train.inputs)


def test_classes_too_small_for_every_split_are_told(tmp_path: Path) -> None:
    target = ["a"] * 20 + ["b"] * 20 + ["c"] * 2 + ["d"]
    dataset = load(_csv(tmp_path / "small", _numbers(43) | {"target": target}))
    assert dataset.labels == ("a", "b", "c", "d")
    assert dataset.report == (
        "target 'target': class 'c' stands in 2 of 43 rows, too few to be in every split",
        "target 'target': class 'd' stands in 1 of 43 rows, too few to be in every split",
    )
    assert (dataset.train.targets == 3).sum() == 1


_ARRAYS = hnp.arrays(
    np.float64, st.tuples(st.integers(10, 30), st.integers(1, 4)), elements=st.floats()
)


@given(_ARRAYS, st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
def test_whatever_the_numbers_inputs_are_finite_or_there_is_an_error(
    tmp_path: Path, table: np.ndarray[Any, Any], data: st.DataObject
) -> None:
    target = data.draw(st.permutations([n % 2 for n in range(len(table))]))
    path = _npz(tmp_path / "any", {"x": table, "target": np.array(target)})
    with contextlib.suppress(DataError):  # every column may turn out constant
        dataset = load(path)
        event("learnable")
        for part in (dataset.train, dataset.validation, dataset.test):
            assert torch.isfinite(part.inputs).all()
            assert part.inputs.shape[1:] == dataset.shape


Change = Callable[[dict[str, Any]], object]
BAD: list[tuple[str, Change, str]] = [
    ("no target", lambda c: c.pop("target"), "no target column 'target'; the columns are 'height'"),
    (
        "all-NaN column",
        lambda c: c.update(age=np.full(40, np.nan)),
        "column 'age' has no value that is not missing",
    ),
    (
        "all-NaN target",
        lambda c: c.update(target=np.full(40, np.nan)),
        "target 'target' has no value that is not missing",
    ),
    (
        "one class",
        lambda c: c.update(target=["yes"] * 40),
        "target 'target' has one class only, 'yes'",
    ),
    (
        "more classes than rows",
        lambda c: c.update(target=[f"person {n}" for n in range(40)]),
        "target 'target' has 40 classes in 40 rows",
    ),
    (
        "constant columns",
        lambda c: c.update(height=np.ones(40), age=np.ones(40)),
        "every column is constant in the training rows",
    ),
    (
        "nothing but the target",
        lambda c: (c.pop("height"), c.pop("age")),
        "there is no column but the target 'target'",
    ),
    (
        "constant target",
        lambda c: c.update(target=np.full(40, 1.5)),
        "target 'target' is constant in the training rows",
    ),
]


@pytest.mark.parametrize("write", [_csv, _parquet, _npz])
@pytest.mark.parametrize(("change", "message"), [bad[1:] for bad in BAD], ids=[b[0] for b in BAD])
def test_bad_data_is_one_line_that_names_file_and_column(
    tmp_path: Path, write: Callable[[Path, Columns], Path], change: Change, message: str
) -> None:
    columns = _numbers()
    change(columns)
    path = write(tmp_path / "bad", columns)
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as csv: Empty CSV file"),
        (b"a,target\n", "there are no rows"),
        (b"a,target\n1\n", "cannot be read as csv"),
        (b"a,a,target\n1,2,3\n", "column 'a' appears 2 times"),
        (b"a,target\n" + b"1,x\n2,y\n" * 3, "6 rows with a target 'target' are too few"),
        (b"a,target\n\xff,1\n", "column 'a' holds binary"),
    ],
)
def test_bad_csv_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_other_bad_files_are_one_line(tmp_path: Path) -> None:
    target = np.arange(20) % 2
    for name in ("bad.npz", "bad.parquet"):
        (tmp_path / name).write_bytes(b"not this at all")
        with pytest.raises(DataError, match=f"{name}: cannot be read as"):
            load(tmp_path / name)
    objects = _npz(tmp_path / "objects", {"x": np.array([{}] * 20), "target": target})
    with pytest.raises(DataError, match="cannot be read as npz: Object arrays"):
        load(objects)
    uneven = _npz(tmp_path / "uneven", {"x": np.ones(3), "target": target})
    with pytest.raises(DataError, match=r"'x' has shape \(3,\), but 'target' 20 rows"):
        load(uneven)
    mixed = {"x": np.ones(20), "images": np.ones((20, 2, 2)), "target": target}
    with pytest.raises(DataError, match="images cannot be mixed"):
        load(_npz(tmp_path / "mixed", mixed))
    lists = _parquet(tmp_path / "lists", {"x": [[1]] * 20, "target": target})
    with pytest.raises(DataError, match="column 'x' holds list"):
        load(lists)


def test_unknown_names_and_kinds_are_refused() -> None:
    with pytest.raises(TaskError, match=r"'mnist' is unknown; give one of \['iris'.*file.*\.csv"):
        load("mnist")
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        load("nowhere.csv")
    with pytest.raises(DataError, match="kind = 'ranking' must be one of"):
        load("iris", kind="ranking")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="is text; a regression needs numbers"):
        load("iris", kind="regression")


def test_a_column_is_typed_by_all_its_rows(tmp_path: Path) -> None:
    rows = 400_000  # more than the first block that a reader would look at
    text = "".join(f"{n % 7},{n % 2}\n" for n in range(rows)) + "0.5,1\n"
    path = tmp_path / "long.csv"
    path.write_text("a,target\n" + text)
    assert load(path).rows == rows + 1
