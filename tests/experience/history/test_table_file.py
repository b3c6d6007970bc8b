"""Trials in CSV, JSON and Parquet files, whole and damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from metatune.errors import DataError
from metatune.experience.history.found import FoundStudy
from metatune.experience.history.table_file import read, recognizes
from metatune.task import Report
from metatune.trial import TrialState

ROWS: list[dict[str, Any]] = [
    {"lr": 0.001, "batch": 16, "opt": "adam", "loss": 0.5, "took": 2.5, "end": "finished"},
    {"lr": 0.01, "batch": 32, "opt": "sgd", "loss": 0.25, "took": 3.0, "end": "finished"},
    {"lr": 0.1, "batch": 16, "opt": "sgd", "loss": None, "took": 1.0, "end": "crashed"},
    {"lr": 0.1, "batch": 64, "opt": "adam", "loss": 0.75, "took": 1.5, "end": "stopped"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as a file of the kind that its ending says."""
    names = list(rows[0])
    if path.suffix in (".csv", ".tsv"):
        sign = "\t" if path.suffix == ".tsv" else ","
        lines = [names, *([("" if r[n] is None else str(r[n])) for n in names] for r in rows)]
        path.write_text("".join(sign.join(line) + "\n" for line in lines))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def one(path: Path, metric: str | None = "loss", **columns: Any) -> FoundStudy:
    (study,) = read(str(path), metric, **columns)
    return study


def reasons(study: FoundStudy) -> dict[str, str]:
    return {one.what: one.reason for one in study.left_out}


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_a_row_is_a_trial_in_every_format(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"runs.{ending}", ROWS)
    assert recognizes(str(path))
    study = one(path, seconds="took", state="end")
    assert (study.name, study.tool, study.metric, study.direction) == (
        "runs",
        "table",
        "loss",
        None,
    )
    assert study.left_out == ()
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAILED, TrialState.PRUNED]
    assert [trial.state for trial in study.trials] == states
    for trial, row in zip(study.trials, ROWS, strict=True):
        assert {k: str(v) for k, v in trial.config.items()} == {
            k: str(row[k]) for k in ("lr", "batch", "opt")
        }
        assert trial.value == row["loss"]
        assert trial.seconds == row["took"]
        assert trial.curve == ()
    assert study.trials[2].error == "end 'crashed'"


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_several_rows_of_one_trial_are_its_curve(tmp_path: Path, ending: str) -> None:
    rows = [
        {"run": run, "lr": 0.1 * (1 + n), "epoch": epoch, "acc": 0.1 * epoch + n, "t": 2.0 * epoch}
        for epoch in (2, 1, 3)
        for n, run in enumerate(("a", "b"))
    ]
    study = one(
        write(tmp_path / f"x.{ending}", rows), "acc", trial="run", step="epoch", seconds="t"
    )
    assert [trial.key for trial in study.trials] == ["a", "b"]
    for n, trial in enumerate(study.trials):
        assert trial.curve == tuple(Report(e, 0.1 * e + n, 2.0 * e) for e in (1, 2, 3))
        assert (trial.value, trial.seconds) == (None, 6.0)
        assert [float(value or 0) for value in trial.config.values()] == [0.1 * (1 + n)]


def test_without_a_step_column_rows_are_steps_as_they_stand(tmp_path: Path) -> None:
    rows = [{"run": 1, "x": 1, "loss": value} for value in (3.0, None, 2.0)]
    (trial,) = one(write(tmp_path / "x.json", rows), trial="run").trials
    assert [(report.step, report.value) for report in trial.curve] == [(1, 3.0), (3, 2.0)]


def test_without_a_metric_the_table_says_which_columns_could_be_it(tmp_path: Path) -> None:
    study = one(write(tmp_path / "x.csv", ROWS), None, seconds="took")
    assert (study.metric, study.trials) == (None, ())
    assert study.metrics == ("lr", "batch", "loss")


def test_parameters_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", ROWS[:2])
    assert [list(t.config) for t in one(path, parameters=["opt", "lr"]).trials] == [
        ["opt", "lr"]
    ] * 2
    assert list(one(path).trials[0].config) == ["lr", "batch", "opt", "took", "end"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"metric": "los"}, "no column 'los' for the metric; it has ['lr', 'batch'"),
        ({"trial": "run"}, "no column 'run' for the trial"),
        ({"parameters": ["lr", "bs"]}, "no column 'bs' for the parameter"),
        ({"step": "batch"}, "name the column that tells the trial"),
    ],
)
def test_a_column_that_is_not_there_is_named(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "x.csv", ROWS)
    with pytest.raises(DataError) as raised:
        one(path, **{"metric": "loss", **columns})
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(path))


def test_what_cannot_be_read_in_a_row_is_told_and_the_rest_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "lr,loss,end,took\n0.1,0.5,ok,0:01:02.5\n0.2,low,ok,1\n0.3,0.4,odd,1\n0.4,,ok,1\n"
        "0.5,0.3,RUNNING,1\n0.6,nan,ok,1\n0.7,0.2,ok,-3\n0.8,0.1,ok,1 days 00:00:01\n0.9,0.1\n"
    )
    study = one(path, state="end", seconds="took")
    assert [trial.config["lr"] for trial in study.trials] == ["0.1", "0.6", "0.8"]
    assert [trial.seconds for trial in study.trials] == [62.5, 1.0, 86401.0]
    assert math.isnan(study.trials[1].value or 0.0)
    found = reasons(study)
    assert list(found) == ["line 10", "line 3", "line 4", "line 5", "line 6", "line 8"]
    assert found["line 3"] == "loss = 'low' is no number"
    assert found["line 4"].startswith("ended as 'odd', which is none of ['complete'")
    assert found["line 5"] == "has no 'loss'"
    assert found["line 6"] == "is still running"
    assert found["line 8"] == "took = '-3' is no time in seconds"
    assert found["line 10"] == "has 2 cells, and the first line 4"


def test_a_trial_whose_rows_contradict_each_other_is_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"run": "a", "lr": 0.1, "loss": 1.0, "epoch": 1},
        {"run": "a", "lr": 0.2, "loss": 0.5, "epoch": 2},
        {"run": "b", "lr": 0.2, "loss": 0.5, "epoch": 0.5},
        {"run": None, "lr": 0.2, "loss": 0.5, "epoch": 1},
        {"run": "c", "lr": 0.2, "loss": 0.5, "epoch": 1},
    ]
    study = one(write(tmp_path / "x.json", rows), trial="run", step="epoch")
    assert [trial.key for trial in study.trials] == ["c"]
    assert reasons(study) == {
        "entry 4": "has no 'run'",
        "trial a": "lr = 0.1 and 0.2: rows of one trial must agree",
        "trial b": "epoch = 0.5 is no whole number from 0",
    }


def test_rows_are_told_apart_by_what_they_say_wherever_they_stand(tmp_path: Path) -> None:
    rows = [{"lr": 0.1 * n, "loss": 1.0} for n in (1, 2, 1, 3)]
    keys = [trial.key for trial in one(write(tmp_path / "x.csv", rows)).trials]
    assert len(set(keys)) == 4
    again = one(write(tmp_path / "y.csv", [{"lr": 0.9, "loss": 2.0}, *rows[::-1]]))
    assert set(keys) < {trial.key for trial in again.trials}


def test_nested_objects_become_names_with_dots(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"opt": {"lr": 0.1, "betas": [0.9, 0.99]}, "loss": 1.0, "note": None}
    ]
    (trial,) = one(write(tmp_path / "x.jsonl", rows)).trials
    assert trial.config == {"opt.lr": 0.1, "opt.betas": "[0.9, 0.99]"}


def test_tables_of_spreadsheets_in_other_countries_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('\ufeff"lr";"text";loss\n0.1;"a;b";1.5\n\n')
    (trial,) = one(path).trials
    assert (trial.config, trial.value) == ({"lr": "0.1", "text": "a;b"}, 1.5)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", b'"lr,loss\n0.1,0.5\n0.2,0.4\n', "cannot be read: unexpected end"),
        ("x.csv", b"lr,loss\n\xff\xfe,1\n", "cannot be read: 'utf-8' codec"),
        ("x.csv", b"lr,lr,loss\n1,2,3\n", "two columns are called 'lr'"),
        ("x.csv", b"lr,loss\n", "has no rows"),
        ("x.csv", b"", "has no rows"),
        ("x.json", b'[{"lr": 0.1, "loss": 1.0}, {"lr": 0.', "is no JSON"),
        ("x.json", b"[" * 100_000, "is no JSON"),
        ("x.jsonl", b'{"lr": \n', "has no rows; line 1 is no JSON"),
        ("x.json", b'{\n"trials": [{"lr": 0.1}]\n}', "is one object; there must be a list"),
        ("x.parquet", b"PAR1 and then nothing", "is no Parquet"),
        ("x.parquet", b"", "is no Parquet"),
        ("x.xlsx", b"PK", "ends in none of .csv, .tsv, .json"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        one(path)
    assert str(raised.value).startswith(f"{path}: {said}")
    assert "\n" not in str(raised.value)


def test_a_parquet_file_cut_short_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="is no Parquet"):
        one(path)


def test_broken_lines_of_csv_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('lr,loss\n0.1,1\n"0.2"x,2\n0.3,3\n"0.4,4\n0.5,5\n')
    study = one(path)
    assert [trial.config["lr"] for trial in study.trials] == ["0.1", "0.3"]
    assert reasons(study) == {
        "line 3": "',' expected after '\"'",
        "lines 5 to 6": "unexpected end of data",
    }


def test_nan_is_a_cell_without_a_value(tmp_path: Path) -> None:
    """As arrays have it where a parameter does not exist."""
    table = {
        "run": [0, 0, 1, 1],
        "momentum": [math.nan, math.nan, 0.9, 0.9],
        "took": [math.nan, 2.0, 1.0, 2.0],
        "loss": [4.0, 3.0, 2.0, 1.0],
    }
    parquet.write_table(pa.table(table), tmp_path / "x.parquet")
    study = one(tmp_path / "x.parquet", trial="run", seconds="took")
    assert study.left_out == ()
    assert [trial.config for trial in study.trials] == [{}, {"momentum": 0.9}]
    assert [trial.seconds for trial in study.trials] == [2.0, 2.0]


def test_broken_lines_of_json_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"lr": 0.1, "loss": 1.0}\n{"lr": 0.\n3\n{"lr": 0.2, "loss": 2.0}\n')
    study = one(path)
    assert [trial.value for trial in study.trials] == [1.0, 2.0]
    assert list(reasons(study)) == ["line 2", "line 3"]
