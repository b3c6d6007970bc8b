"""MLflow's folders and databases, as MLflow 3 wrote them (fixtures/mlflow), and damaged ones."""

from __future__ import annotations

import json
import math
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from metatune.errors import DataError
from metatune.experience.history import mlflow_runs
from metatune.experience.history.found import FoundStudy, FoundTrial
from metatune.trial import TrialState

FIXTURE = Path(__file__).parent / "fixtures" / "mlflow"
WRITTEN: dict[str, Any] = json.loads((FIXTURE / "written.json").read_text())
STATES = {
    "good": TrialState.COMPLETE,
    "tiny": TrialState.COMPLETE,
    "nan": TrialState.FAILED,
    "infinite": TrialState.COMPLETE,
    "killed": TrialState.PRUNED,
    "running": TrialState.RUNNING,
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The database of the fixture, built from its dump."""
    path = tmp_path / "mlflow 100%?.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((FIXTURE / "mlflow.sql").read_text())
    return path


@pytest.fixture(params=["folder", "file", "url"])
def address(request: pytest.FixtureRequest, database: Path) -> str:
    """Where the same runs are recorded."""
    if request.param == "url":
        return f"sqlite:///{database.rename(database.with_name('named.db'))}"
    return str(database if request.param == "file" else FIXTURE / "mlruns")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the tracking folder that may be damaged."""
    return Path(shutil.copytree(FIXTURE / "mlruns", tmp_path / "mlruns"))


def _digits(address: str | Path, metric: str | None = "val/loss") -> FoundStudy:
    (study,) = [one for one in mlflow_runs.read(str(address), metric) if one.name == "digits"]
    return study


def _named(study: FoundStudy) -> dict[str, FoundTrial]:
    """Trials by the names of their runs, known by what they set."""
    by_lr = {str(params.get("lr")): name for name, (params, _) in WRITTEN.items()}
    return {by_lr[str(trial.config["lr"])]: trial for trial in study.trials}


def _run(copied: Path, lr: str) -> Path:
    """The folder of the run with a learning rate."""
    (path,) = [one for one in copied.glob("*/*/params/lr") if one.read_text() == lr]
    return path.parents[1]


def test_curves_states_and_parameters_are_what_was_logged(address: str) -> None:
    assert mlflow_runs.recognizes(address)
    study = _digits(address)
    assert (study.tool, study.metric, study.direction) == ("mlflow", "val/loss", None)
    assert study.metrics == ("accuracy", "val/loss")
    trials = _named(study)
    assert list(trials) == list(STATES)
    for name, trial in trials.items():
        params, losses = WRITTEN[name]
        assert trial.state is STATES[name]
        assert trial.config == {key: str(value) for key, value in params.items()}
        assert [report.step for report in trial.curve] == list(range(len(losses)))
        for index, (report, loss) in enumerate(zip(trial.curve, losses, strict=True)):
            assert report.value == loss or (math.isnan(report.value) and math.isnan(loss))
            assert report.seconds == 1.5 * (index + 1)
        ended = trial.state is not TrialState.RUNNING
        assert trial.seconds == (1.5 * len(losses) + 0.1 if ended else 0.0)
        has_value = trial.state is not TrialState.FAILED and math.isfinite(losses[-1])
        assert trial.value == (losses[-1] if has_value else None)
        assert (trial.error is None) is (trial.state is not TrialState.FAILED)


def test_what_is_no_trial_is_listed_with_its_reason(address: str) -> None:
    left_out = _digits(address).left_out
    assert {one.reason: one.what.partition(" (")[0] for one in left_out if "(" in one.what} == {
        "has no parameters, only runs below it": "run 'parent'",
        "is deleted": "run 'deleted'",
    }
    (unmeasured,) = [one for one in left_out if "(" not in one.what]
    assert unmeasured.reason == "reported no 'val/loss'"


def test_values_without_steps_are_numbered_by_time(address: str) -> None:
    (study,) = [one for one in mlflow_runs.read(address, None) if one.name == "flowers"]
    assert study.metric == "error"  # the only one
    (trial,) = study.trials
    assert [(r.step, r.value, r.seconds) for r in trial.curve] == [
        (1, 0.3, 1.0),
        (2, 0.2, 2.0),
        (3, 0.1, 3.0),
    ]


def test_without_a_metric_they_are_listed(address: str) -> None:
    study = _digits(address, None)
    assert study.metric is None
    assert study.metrics == ("accuracy", "val/loss")
    assert all(trial.curve == () and trial.value is None for trial in study.trials)


def test_reading_twice_gives_the_same(address: str) -> None:
    assert repr(mlflow_runs.read(address, None)) == repr(mlflow_runs.read(address, None))


def test_an_unknown_metric_is_refused_by_name(address: str) -> None:
    with pytest.raises(DataError, match=r"'los'; there are \['accuracy', 'error', 'val/loss'\]"):
        mlflow_runs.read(address, "los")


def test_the_folder_of_one_experiment_can_be_read_alone() -> None:
    folder = next(p.parent for p in (FIXTURE / "mlruns").glob("*/meta.yaml") if _has_runs(p))
    assert mlflow_runs.recognizes(str(folder))
    assert len(mlflow_runs.read(str(folder), None)) == 1


def _has_runs(meta: Path) -> bool:
    return any(meta.parent.glob("*/params/*"))


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for address in (f"sqlite:///{tmp_path}/none.db", f"{tmp_path}/none.db"):
        assert not mlflow_runs.recognizes(address)
        with pytest.raises(DataError, match=r"none\.db"):
            mlflow_runs.read(address, None)
    assert list(tmp_path.iterdir()) == []


def test_a_database_is_not_written_to(database: Path) -> None:
    before = database.read_bytes()
    database.chmod(0o444)
    mlflow_runs.read(str(database), "val/loss")
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_other_databases_and_addresses_are_not_recognized(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE experiments (a); CREATE TABLE runs (b);")
    for address in (path, tmp_path, __file__, "s3://bucket/x", "nonsense://", f"sqlite:///{path}"):
        assert not mlflow_runs.recognizes(str(address))


def test_no_message_holds_a_password() -> None:
    with pytest.raises(DataError) as raised:
        mlflow_runs.read("postgresql+nodriver://me:secret@localhost/db", None)
    assert "secret" not in str(raised.value)
    assert "localhost/db" in str(raised.value)


@pytest.mark.parametrize("text", ["", "status: [", "- a", "start_time: soon", "\x00", "a: &a [*a"])
def test_a_run_with_damaged_meta_is_left_out(copied: Path, text: str) -> None:
    run = _run(copied, "0.001")
    (run / "meta.yaml").write_text(text)
    study = _digits(copied)
    assert len(study.trials) == len(STATES) - 1
    (damaged,) = [one for one in study.left_out if run.name in one.what]
    assert "meta.yaml" in damaged.reason


@pytest.mark.parametrize("text", ["1 0.5 x\n", "half\n", "1\n", "\udcff", "9" * 400 + " 1 1\n"])
def test_a_run_with_a_damaged_curve_is_left_out(copied: Path, text: str) -> None:
    run = _run(copied, "0.001")
    (run / "metrics" / "val" / "loss").write_text(text, errors="surrogateescape")
    study = _digits(copied)
    assert len(study.trials) == len(STATES) - 1
    assert len([one for one in study.left_out if run.name in one.what]) == 1


def test_an_unreadable_experiment_is_listed_and_the_others_read(copied: Path) -> None:
    folder = _run(copied, "0.001").parent
    (folder / "meta.yaml").write_text("{")
    (study,) = mlflow_runs.read(str(copied), None)
    assert study.name == "flowers"
    assert [one.what for one in study.left_out] == [f"experiment {folder.name}"]


def test_a_deleted_experiment_is_listed(copied: Path) -> None:
    folder = _run(copied, "0.001").parent
    meta = (folder / "meta.yaml").read_text()
    (folder / "meta.yaml").write_text(
        meta.replace("lifecycle_stage: active", "lifecycle_stage: deleted")
    )
    (study,) = mlflow_runs.read(str(copied), None)
    assert study.name == "flowers"
    assert [(one.what, one.reason) for one in study.left_out] == [
        ("experiment 'digits'", "is deleted")
    ]


def test_whatever_file_is_damaged_the_rest_is_read(copied: Path) -> None:
    draw = random.Random(0)
    files = sorted(path for path in copied.rglob("*") if path.is_file() and path.stat().st_size)
    for _ in range(60):
        path = draw.choice(files)
        whole = path.read_bytes()
        data = bytearray(whole)
        for _ in range(draw.randint(1, 5)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.randint(0, len(data))] if draw.random() < 0.5 else data)
        assert mlflow_runs.recognizes(str(copied))
        trials = [t for study in mlflow_runs.read(str(copied), None) for t in study.trials]
        is_meta_of_all = path.name == "meta.yaml" and path.parents[1] == copied
        assert is_meta_of_all or len(trials) >= len(STATES)
        path.write_bytes(whole)


def test_a_damaged_database_is_an_error_or_listed(database: Path) -> None:
    whole = database.read_bytes()
    draw = random.Random(0)
    refusals = []
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 40)):
            data[draw.randrange(100, len(data))] = draw.randrange(256)
        database.write_bytes(data[: draw.randint(1, len(data))] if draw.random() < 0.3 else data)
        mlflow_runs.recognizes(str(database))
        try:
            mlflow_runs.read(str(database), None)
        except DataError as error:
            refusals.append(str(error))
    assert refusals
    assert all(database.name in refusal and "\n" not in refusal for refusal in refusals)
