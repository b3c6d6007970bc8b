"""Studies that Optuna 5 wrote, in a database and in a journal, whole and damaged."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url

from metatune.errors import DataError
from metatune.experience.history import mlflow_runs, optuna_storage
from metatune.experience.history.found import FoundStudy
from metatune.experience.history.optuna_storage import read, recognizes
from metatune.parameters import Categorical, Float, Integer

FIXTURES = Path(__file__).parent / "fixtures" / "optuna"
EXPECTED: list[dict[str, Any]] = json.loads((FIXTURES / "expected.json").read_text())
BOTH = pytest.mark.parametrize("name", ["storage.db", "journal.log"])


def study(address: Path | str, name: str = "small", metric: str | None = None) -> FoundStudy:
    return next(found for found in read(str(address), metric) if found.name == name)


@pytest.fixture(params=["storage.db", "journal.log"])
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A storage of its own, in a folder with nothing else."""
    folder = tmp_path / "{odd} folder%20"
    folder.mkdir()
    return Path(shutil.copy(FIXTURES / str(request.param), folder))


@BOTH
def test_every_value_and_curve_is_as_it_was_told_to_optuna(name: str) -> None:
    found = study(FIXTURES / name)
    by_key = {trial.key: trial for trial in found.trials}
    assert len(by_key) == len(found.trials) == 19
    for plan in EXPECTED[:19]:
        trial = by_key[str(plan["number"])]
        assert trial.config == plan["params"]
        assert list(trial.config) == list(plan["params"])
        state = {"FAIL": "FAILED"}.get(plan["state"], plan["state"])
        assert trial.state == state
        assert trial.value == plan["value"]
        curve = [[report.step, report.value] for report in trial.curve]
        assert repr(curve) == repr(plan["curve"])
        assert (trial.seconds > 0.0) == (state != "RUNNING")
        assert (trial.error is not None) == (state == "FAILED")
    assert [(one.what, one.reason) for one in found.left_out] == [("trial 19", "has not begun")]


@BOTH
def test_distributions_give_the_parameters(name: str) -> None:
    found = study(FIXTURES / name)
    assert found.parameters == {
        "lr": Float(1e-5, 1e-1, log=True),
        "layers": Integer(1, 3),
        "optimizer": Categorical(("sgd", "adam")),
        "dropout": Float(0.0, 0.5),
        "batch_size": Integer(16, 64, log=True),
        "use_bias": Categorical((True, False)),
        "scheduler": Categorical((None, "cosine")),
        "momentum": Float(0.5, 0.99),
    }
    assert found.notes == {"lr": "the union of 2 ranges", "dropout": "in steps of 0.1"}
    assert (found.metric, found.direction, found.metrics) == ("value", "minimize", ("value",))


@BOTH
def test_names_of_metrics_and_choices_that_are_no_plain_values(name: str) -> None:
    found = study(FIXTURES / name, "named")
    assert (found.metric, found.direction) == ("accuracy", "maximize")
    assert found.parameters["shape"] == Categorical(("[32, 16]", "[32, 32]"))
    assert [trial.config["shape"] for trial in found.trials] == ["[32, 16]", "[32, 32]"] * 2
    assert [trial.value for trial in found.trials] == [0.5 + 0.1 * number for number in range(4)]
    assert "seed" not in found.parameters  # a range of one value
    assert study(FIXTURES / name, metric="loss").metric == "loss"


@BOTH
def test_one_of_several_metrics_is_read_where_it_is_chosen(name: str) -> None:
    silent = study(FIXTURES / name, "several")
    assert (silent.metric, silent.trials) == (None, ())
    assert silent.metrics == ("values_0", "values_1")
    found = study(FIXTURES / name, "several", "values_1")
    assert (found.metric, found.direction) == ("values_1", "maximize")
    assert [trial.value for trial in found.trials] == [0.0, 2.0, 4.0, 6.0]


def test_what_is_a_storage_is_recognized_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
        connection.commit()
    text = tmp_path / "x.db"
    text.write_text("no database")
    for address in (
        FIXTURES / "storage.db",
        f"sqlite:///{FIXTURES / 'storage.db'}",
        FIXTURES / "journal.log",
        "postgresql+psycopg://host/db",
        "mysql://user:secret@host/db",
        "sqlite:///missing.db",
    ):
        assert recognizes(str(address)), address
    for address in (other, f"sqlite:///{other}", text, tmp_path, tmp_path / "none", "s3://b/c"):
        assert not recognizes(str(address)), address


def test_reading_leaves_a_storage_and_its_folder_as_they_are(copy: Path) -> None:
    before = copy.read_bytes()
    copy.chmod(0o444)
    address = f"sqlite:///{quote(str(copy))}" if copy.suffix == ".db" else str(copy)
    assert len(read(address)) == 3
    assert len(read(str(copy))) == 3
    assert copy.read_bytes() == before
    assert list(copy.parent.iterdir()) == [copy]


def test_a_database_is_open_for_reading_alone(database: Path) -> None:
    with optuna_storage._database(str(database)) as storage:
        with pytest.raises(StorageInternalError) as raised:
            storage.create_new_study([StudyDirection.MINIMIZE])
        assert "readonly database" in str(raised.value.__cause__)


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    for address in (f"sqlite:///{tmp_path / 'x.db'}", str(tmp_path / "x.db"), "sqlite://"):
        with pytest.raises(DataError, match="there is no file"):
            read(address)
    assert list(tmp_path.iterdir()) == []


def test_no_table_is_made_in_a_database_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (id INTEGER)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(DataError, match="has no table 'alembic_version', so is not Optuna's"):
        read(str(path))
    assert path.read_bytes() == before


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return Path(shutil.copy(FIXTURES / "storage.db", tmp_path))


def test_an_older_schema_is_not_migrated_but_named(database: Path) -> None:
    change(database, "UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    before = database.read_bytes()
    with pytest.raises(DataError, match="on a copy of it, run: optuna storage upgrade --storage"):
        read(str(database))
    assert database.read_bytes() == before
    change(database, "UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    with pytest.raises(DataError, match="was written by a newer Optuna; update Optuna here"):
        read(str(database))
    change(database, "DELETE FROM alembic_version")
    before = database.read_bytes()
    with pytest.raises(DataError, match="does not say which Optuna wrote it"):
        read(str(database))
    assert database.read_bytes() == before


def test_a_database_cut_short_is_named(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])
    assert recognizes(str(database))
    with pytest.raises(
        DataError, match=r"Optuna storage .*storage\.db: cannot be read: .*malformed"
    ):
        read(str(database))
    database.write_bytes(b"")
    with pytest.raises(DataError, match="is no SQLite database"):
        read(str(database))


def test_one_damaged_trial_of_a_database_is_left_out(database: Path) -> None:
    change(database, "UPDATE trial_params SET distribution_json = '{' WHERE trial_id = 3")
    found = study(database)
    assert len(found.trials) == 18
    assert "2" not in {trial.key for trial in found.trials}
    assert [one.what for one in found.left_out] == ["trial 2", "trial 19"]
    assert "cannot be read" in found.left_out[0].reason


def test_a_trial_in_a_state_that_never_was_is_left_out(database: Path) -> None:
    change(database, "UPDATE trials SET state = 'ODD' WHERE trial_id = 1")
    change(database, "UPDATE trials SET datetime_start = 'once' WHERE trial_id = 2")
    found = study(database)
    assert [one.what for one in found.left_out] == ["trial 0", "trial 1", "trial 19"]
    assert len(found.trials) == 17


def test_studies_whose_trials_cannot_be_read_are_given_without(database: Path) -> None:
    change(database, "DROP TABLE trial_values")
    found = read(str(database))
    assert [(one.name, one.trials) for one in found] == [
        ("small", ()),
        ("several", ()),
        ("named", ()),
    ]
    assert found[0].left_out[0].reason == "cannot be read: no such table: trial_values"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return Path(shutil.copy(FIXTURES / "journal.log", tmp_path))


def break_line(path: Path, operation: int, trial: str = "") -> int:
    """Cut the first line with an operation (on a trial) short; its number."""
    lines = path.read_text().splitlines(keepends=True)
    wanted = f'{{"op_code":{operation},'
    at = next(
        n
        for n, line in enumerate(lines)
        if line.startswith(wanted) and f'"trial_id":{trial}' in line
    )
    lines[at] = lines[at][:-4] + "\n"
    path.write_text("".join(lines))
    return at + 1


def test_a_broken_line_of_a_journal_costs_the_trial_it_speaks_of(journal: Path) -> None:
    line = break_line(journal, 7, "3,")
    found = study(journal)
    assert "3" not in {trial.key for trial in found.trials}
    assert len(found.trials) == 18
    assert (found.left_out[0].what, found.left_out[0].reason) == (
        "trial 3",
        f"line {line} of the journal is broken",
    )
    whole = {t.key: t for t in study(FIXTURES / "journal.log").trials}
    assert all(trial == whole[trial.key] for trial in found.trials)


@pytest.mark.parametrize("broken", ['{"op_co', '{"op_code":4,"user_attrs":{"trial_id":1},'])
def test_after_a_broken_line_that_may_create_a_trial_nothing_is_trusted(
    journal: Path, broken: str
) -> None:
    lines = journal.read_text().splitlines(keepends=True)
    creating = [n for n, line in enumerate(lines) if line.startswith('{"op_code":4,')]
    lines[creating[5]] = f"{broken}\n"
    journal.write_text("".join(lines))
    (found,) = read(str(journal))
    assert [trial.key for trial in found.trials] == ["0", "1", "2", "3", "4"]
    rest = len(lines) - creating[5] - 1
    assert found.left_out[0].what == "the end of journal.log"
    assert found.left_out[0].reason == (
        f"line {creating[5] + 1} is broken, and so {rest} lines after it count not"
    )


def test_a_journal_of_something_else_is_named_with_its_line(journal: Path) -> None:
    journal.write_text('{"op_code":5,"worker_id":"x"}\n')
    with pytest.raises(DataError, match="line 1 is no operation of an Optuna journal"):
        read(str(journal))
    journal.write_text('{"op_code":0,"worker\n')
    with pytest.raises(DataError, match="has no study; line 1 is broken"):
        read(str(journal))


def test_a_trial_outside_the_constraints_is_a_failure(tmp_path: Path) -> None:
    def objective(trial: optuna.Trial) -> float:
        trial.set_constraint("memory", trial.number - 1.0)
        return trial.suggest_float("x", 0.0, 1.0)

    address = f"sqlite:///{tmp_path}/x.db"
    optuna.create_study(storage=address, study_name="x").optimize(objective, n_trials=3)
    trials = study(address, "x").trials
    assert [trial.state for trial in trials] == ["COMPLETE", "COMPLETE", "FAILED"]
    assert trials[2].error == "constraints violated: {'memory': 1.0}"


def test_a_url_that_is_none_is_named() -> None:
    with pytest.raises(DataError, match=r"me:\*\*\*@host:port/db: no URL: ") as raised:
        read("postgresql://me:secret@host:port/db")
    assert "secret" not in str(raised.value)


def test_passwords_are_not_shown_where_no_server_answers() -> None:
    with pytest.raises(DataError, match="Optuna storage ") as raised:
        read("postgresql://me:secret@127.0.0.1:9/db")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_servers_are_opened_without_leave_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, dict[str, Any]]] = []

    def create_engine(url: object, **options: Any) -> None:
        opened.append((make_url(str(url)).get_backend_name(), options))
        raise ImportError("no driver")

    monkeypatch.setattr(sqlalchemy, "create_engine", create_engine)
    for url in ("postgresql://host/db", "mysql+pymysql://host/db", "mariadb://host/db"):
        for reader in (optuna_storage, mlflow_runs):
            with pytest.raises(DataError, match="no driver"):
                reader.read(url, None)
    assert [backend for backend, _ in opened] == [
        name for name in ("postgresql", "mysql", "mariadb") for _ in range(2)
    ]
    for _, options in opened[:2]:
        assert options == {"execution_options": {"postgresql_readonly": True}}
    for _, options in opened[2:]:
        assert options == {"connect_args": {"init_command": "SET SESSION TRANSACTION READ ONLY"}}
