"""Plans of imports and carrying them out: what is new, what is known, what is left out."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copytree
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution

from metatune.errors import InputError, StudyError, StudyLockedError
from metatune.experience.history import importing
from metatune.experience.history.importing import carry_out, plan_import
from metatune.experience.history.passwords import hide_password
from metatune.experience.history.plans import Choices, ImportPlan
from metatune.experience.history.sources import Tool, read_source
from metatune.experience.store import ExperienceStore
from metatune.parameters import Categorical, Float
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Report, Task
from metatune.trial import Trial, TrialState

OPTUNA = Path(__file__).parent / "fixtures" / "optuna"
RAY = Path(__file__).parent / "fixtures" / "ray"
STORAGE = str(OPTUNA / "storage.db")
EXPECTED: list[dict[str, Any]] = json.loads((OPTUNA / "expected.json").read_text())


@pytest.fixture
def store(tmp_path: Path) -> ExperienceStore:
    return ExperienceStore(tmp_path / "store")


def import_(store: ExperienceStore, address: str, task: str = "shop", **choices: Any) -> ImportPlan:
    plan = plan_import(store, address, task, Choices(**choices))
    carry_out(store, plan)
    return plan


def table(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps(rows))
    return str(path)


LOSS: dict[str, Any] = {"metric": "loss", "direction": "minimize"}


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"lr": 0.1 / (1 + n), "opt": ("sgd", "adam")[n % 2], "loss": 1.0 + n}
        for n in range(start, start + count)
    ]


@pytest.mark.parametrize("name", ["storage.db", "journal.log"])
def test_what_optuna_was_told_is_in_the_store(store: ExperienceStore, name: str) -> None:
    import_(store, str(OPTUNA / name), study="small")
    study = store.study("optuna-small")
    assert study.task == Task("shop", "value", "minimize")
    assert study.trials == 18
    assert study.optimizer == "imported from optuna"
    assert study.space.when == {"momentum": {"optimizer": ("sgd",)}}
    assert study.space.parameters["lr"] == Float(1e-5, 1e-1, log=True)
    ended = [plan for plan in EXPECTED if plan["state"] not in ("RUNNING", "WAITING")]
    trials = store.trials(study="optuna-small")
    assert len(trials) == len(ended) == 18
    for index, (trial, plan) in enumerate(zip(trials, ended, strict=True)):
        assert (trial.number, trial.finished_index) == (index, index)
        assert trial.config == plan["params"]
        assert trial.state == {"FAIL": "FAILED"}.get(plan["state"], plan["state"])
        assert trial.value == plan["value"]
        finite = [[s, v] for s, v in plan["curve"] if math.isfinite(v)]
        assert [[r.step, r.value] for r in trial.curve] == finite
        assert trial.cost > 0.0
        assert trial.suggestion.optimizer == "imported from optuna"
        origin = trial.training["imported"]
        assert (origin["tool"], origin["study"], origin["trial"]) == (
            "optuna",
            "small",
            str(plan["number"]),
        )


def test_a_plan_writes_nothing_and_lists_what_is_left_out(store: ExperienceStore) -> None:
    plan = plan_import(store, STORAGE, "shop")
    assert store.studies() == []
    assert [planned.found.name for planned in plan.studies] == ["small", "named"]
    assert [planned.study.name for planned in plan.studies] == ["optuna-small", "optuna-named"]
    assert [(one.what, one.reason) for one in plan.studies[0].left_out] == [
        ("trial 19", "has not begun"),
        ("trial 18", "is still running"),
    ]
    (several,) = plan.left_out
    assert several.what == "study 'several'"
    assert several.reason.endswith("choose with --metric from ['values_0', 'values_1']")
    assert plan.studies[0].aliases["lr"] == "learning_rate"
    assert plan.studies[1].study.training["imported"]["constants"] == {"seed": 7}


def test_importing_twice_adds_nothing(store: ExperienceStore) -> None:
    first = import_(store, STORAGE)
    before = store.trials()
    again = import_(store, STORAGE)
    assert (first.trials, again.trials) == (22, 0)
    assert [planned.known for planned in again.studies] == [18, 4]
    assert store.trials() == before
    assert [planned.study for planned in again.studies] == [p.study for p in first.studies]


def test_a_source_that_moved_is_known(store: ExperienceStore, tmp_path: Path) -> None:
    import_(store, table(tmp_path / "a.json", rows(6)), **LOSS)
    (tmp_path / "elsewhere").mkdir()
    moved = table(tmp_path / "elsewhere" / "b.json", rows(6)[::-1])
    assert import_(store, moved, **LOSS).trials == 0


def test_another_source_of_the_same_name_is_not(store: ExperienceStore, tmp_path: Path) -> None:
    for number in range(2):
        address = f"sqlite:///{tmp_path}/{number}.db"
        study = optuna.create_study(study_name="same", storage=address)
        for value in (0.1, 0.2, 0.3):
            space: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}
            study.add_trial(
                optuna.create_trial(params={"x": value}, distributions=space, value=value + number)
            )
        assert import_(store, address).trials == 3
    assert len(store.trials()) == 6


def test_a_source_that_grew_adds_just_what_is_new(store: ExperienceStore, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    import_(store, table(path, rows(8)), **LOSS)
    # What is new fits the space that was inferred before, which is kept.
    more = [*rows(8), {"lr": 0.05, "opt": "sgd", "loss": 0.5}]
    plan = import_(store, table(path, more), **LOSS)
    assert (plan.trials, plan.studies[0].known) == (1, 8)
    assert [(t.study, t.number, t.finished_index) for t in plan.studies[0].trials] == [
        ("table-x", 8, 8)
    ]
    assert store.study("table-x").trials == 9
    assert len(store.trials(study="table-x")) == 9


def test_what_fits_no_earlier_space_goes_to_a_study_of_its_own(
    store: ExperienceStore, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    import_(store, table(path, rows(8)), **LOSS)
    before = store.study("table-x")
    wider = [*rows(8), {"lr": 1e-6, "opt": "lion", "loss": 0.5, "depth": 3}]
    plan = import_(store, table(path, wider), **LOSS)
    assert [(t.study, t.number) for t in plan.studies[0].trials] == [("table-x-2", 0)]
    assert store.study("table-x") == before
    assert len(store.trials()) == 9
    space = store.study("table-x-2").space
    assert space.parameters["opt"] == Categorical(("adam", "lion", "sgd"))
    grown = [*wider, {"lr": 1e-5, "opt": "lion", "loss": 0.5}]
    assert import_(store, table(path, grown), **LOSS).studies[0].study.name == "table-x-2"
    assert import_(store, table(path, grown), **LOSS).trials == 0
    assert len(store.trials()) == 10


def test_a_running_trial_is_imported_when_it_has_ended(
    store: ExperienceStore, tmp_path: Path
) -> None:
    address = f"sqlite:///{tmp_path}/x.db"
    study = optuna.create_study(study_name="s", storage=address)
    asked = [study.ask({"x": FloatDistribution(0.0, 1.0)}) for _ in range(4)]
    for trial in asked[:3]:
        study.tell(trial, 1.0)
    assert import_(store, address).trials == 3
    study.tell(asked[3], state=optuna.trial.TrialState.FAIL)
    (found,) = import_(store, address).studies
    assert [(t.number, t.state) for t in found.trials] == [(3, TrialState.FAILED)]


def test_interrupted_it_is_completed_by_importing_again(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_TRIALS_AT_ONCE", 5)
    plan = plan_import(store, STORAGE, "shop", Choices(study="small"))

    told: list[None] = []

    def stop() -> None:
        told.append(None)
        if len(told) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(store, plan, stop)
    assert len(store.trials()) == 10
    assert import_(store, STORAGE, study="small").trials == 8
    assert [trial.number for trial in store.trials()] == list(range(18))


def test_two_who_import_at_a_time_do_not_write_over_each_other(store: ExperienceStore) -> None:
    plan = plan_import(store, STORAGE, "shop")
    with store.lease("optuna-small"), pytest.raises(StudyLockedError):
        carry_out(store, plan)
    import_(store, STORAGE)
    with pytest.raises(StudyError, match="has grown since this was planned; import again"):
        carry_out(store, plan)
    assert len(store.trials()) == 22


def test_each_study_can_be_a_task_of_its_own(store: ExperienceStore) -> None:
    import_(store, STORAGE, "tuning {study}")
    assert [task.name for task in store.tasks()] == ["tuning named", "tuning small"]


def test_a_task_that_the_store_has_is_the_one_that_was_meant(store: ExperienceStore) -> None:
    known = Task("shop", "loss", "minimize", metafeatures={"rows": 5.0}, data_hash="h")
    store.put_study(Study("own", known, SearchSpace({"x": Float(0.0, 1.0)})))
    import_(store, STORAGE, study="small", metric="loss")
    assert store.study("optuna-small").task == known
    import_(store, STORAGE, study="named")
    assert store.study("optuna-named").task == Task("shop", "accuracy", "maximize")


def test_tasks_of_one_name_on_several_data_are_not_chosen_from(
    store: ExperienceStore, tmp_path: Path
) -> None:
    space = SearchSpace({"x": Float(0.0, 1.0)})
    store.put_study(Study("a", Task("shop", "loss", data_hash="h1"), space))
    path = tmp_path / "x.json"
    import_(store, table(path, rows(4)), **LOSS)
    store.put_study(Study("b", Task("shop", "loss", data_hash="h2"), space))
    store.put_study(Study("c", Task("shop", "loss", data_hash="h3", measure="best"), space))
    with pytest.raises(InputError) as raised:
        import_(store, STORAGE, study="small", metric="loss")
    assert (
        "task 'shop' is of several data sets in the store: data hash 'h1' (study 'a'), 'h2' "
        "(study 'b'); give another --task name"
    ) in str(raised.value)
    # What came from the same source before says which it is.
    import_(store, table(path, rows(5)), **LOSS)
    assert store.study("table-x").task.data_hash == "h1"
    assert len(store.trials(study="table-x")) == 5


def test_a_study_that_has_the_name_already_is_left_alone(store: ExperienceStore) -> None:
    own = Study("optuna-small", Task("t"), SearchSpace({"x": Float(0.0, 1.0)}))
    store.put_study(own)
    import_(store, STORAGE, study="small")
    assert store.study("optuna-small") == own
    assert len(store.trials(study="optuna-small-2")) == 18


def test_no_finite_value_is_a_failure_and_says_so(store: ExperienceStore, tmp_path: Path) -> None:
    content = [*rows(4), {"lr": 5.0, "opt": "sgd", "loss": math.inf}]
    import_(store, table(tmp_path / "x.json", content), **LOSS)
    failed = store.trials(states=[TrialState.FAILED])
    assert [(trial.number, trial.value) for trial in failed] == [(4, None)]
    assert failed[0].error == "measured loss = inf, which is no finite number"


def test_what_tried_nothing_is_left_out(store: ExperienceStore, tmp_path: Path) -> None:
    content = [*rows(4), {"loss": 1.0}, {"lr": "", "opt": math.nan, "loss": 2.0}]
    (planned,) = import_(store, table(tmp_path / "x.json", content), **LOSS).studies
    assert [t.config.keys() for t in store.trials()] == [{"lr", "opt"}] * 4
    assert [one.reason for one in planned.left_out] == ["has no parameter"] * 2
    assert planned.study.space.when == {}


def test_what_failed_before_it_asked_for_anything_is_left_out(
    store: ExperienceStore, tmp_path: Path
) -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.number == 1:
            raise ValueError
        return trial.suggest_float("x", 0.0, 1.0)

    address = f"sqlite:///{tmp_path}/x.db"
    study = optuna.create_study(study_name="s", storage=address)
    study.optimize(objective, n_trials=3, catch=(ValueError,))
    (planned,) = import_(store, address).studies
    assert [t.training["imported"]["trial"] for t in planned.trials] == ["0", "2"]
    assert [one.reason for one in planned.left_out] == ["has no parameter"]


def test_what_has_no_parameter_of_a_given_space_is_left_out(
    store: ExperienceStore, tmp_path: Path
) -> None:
    path = table(tmp_path / "x.json", [*rows(3), {"opt": "sgd", "loss": 1.0}])
    space = SearchSpace({"lr": Float(1e-3, 1.0, log=True)})
    (planned,) = import_(store, path, space=space, space_source="x.toml", **LOSS).studies
    assert [one.reason for one in planned.left_out] == ["has no parameter"]
    assert len(store.trials()) == 3


def test_the_best_report_counts_where_that_is_asked_for(
    store: ExperienceStore, tmp_path: Path
) -> None:
    content = [
        {"run": run, "x": x, "e": e, "acc": acc}
        for run, x, accs in (("a", 1, (0.1, 0.9, 0.5)), ("b", 2, (0.4, 0.2, math.nan)))
        for e, acc in enumerate(accs)
    ]
    path = table(tmp_path / "x.json", content)
    columns = {"trial": "run", "step": "e"}
    choices: dict[str, Any] = {"metric": "acc", "direction": "maximize", "columns": columns}
    import_(store, path, **choices)
    assert [(t.state, t.value) for t in store.trials()] == [("COMPLETE", 0.5), ("FAILED", None)]
    assert store.trials()[0].curve == (Report(0, 0.1, 0), Report(1, 0.9, 0), Report(2, 0.5, 0))
    (best,) = import_(store, path, measure="best", **choices).studies
    assert best.study.task.measure == "best"
    assert best.trials == ()  # known by what they tried and measured first


def test_a_space_that_is_given_holds(store: ExperienceStore, tmp_path: Path) -> None:
    path = table(tmp_path / "x.json", [*rows(6), {"lr": "big", "opt": "sgd", "loss": 1.0}])
    space = SearchSpace({"lr": Float(1e-3, 1.0, log=True)})
    plan = import_(store, path, space=space, space_source="mine.toml", **LOSS)
    (planned,) = plan.studies
    assert planned.study.space == space
    assert [(f.name, f.parameter is not None, f.reason) for f in planned.findings] == [
        ("lr", True, "as in mine.toml"),
        ("opt", False, "not in mine.toml"),
    ]
    assert [one.reason for one in planned.left_out] == [
        f"lr = 'big' is not in {space.parameters['lr']}"
    ]
    assert [list(trial.config) for trial in store.trials()] == [["lr"]] * 6


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({}, "study 'x' does not say what was optimized; choose with --metric from ['loss', 'lr']"),
        (
            {"metric": "loss"},
            "does not say which way 'loss' is better; say --direction minimize or",
        ),
        ({"metric": "los", "direction": "minimize"}, "no column 'los' for the metric"),
        ({**LOSS, "study": "y"}, "there is no study 'y'; there are ['x']"),
        ({**LOSS, "space": SearchSpace({"z": Float(0, 1)})}, "has no trial with 'z', which"),
        (
            {**LOSS, "space": SearchSpace({"lr": Float(5, 6)})},
            "has no trial that fits the space (trial",
        ),
        ({**LOSS, "tool": Tool.OPTUNA}, "is no SQLite database"),
        ({**LOSS, "study": "x", "tool": Tool.RAY}, "no experiment of Ray Tune"),
        ({**LOSS, "columns": {"parameters": ["opt"]}}, "has no parameter that changes"),
        (
            {**LOSS, "columns": {"parameters": ["lr", "loss"]}},
            "column 'loss' is given for the metric and as a parameter",
        ),
    ],
)
def test_what_cannot_be_imported_is_named_in_one_line(
    store: ExperienceStore, tmp_path: Path, choices: dict[str, Any], said: str
) -> None:
    path = table(tmp_path / "x.json", [{"lr": lr, "opt": "sgd", "loss": 1.0} for lr in (0.1, 0.2)])
    with pytest.raises(InputError) as raised:
        import_(store, path, **choices)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert store.studies() == []


def test_what_the_source_says_is_not_contradicted(store: ExperienceStore) -> None:
    with pytest.raises(InputError, match="says to minimize 'value'; leave --direction out"):
        plan_import(store, STORAGE, "shop", Choices(study="small", direction="maximize"))
    with pytest.raises(InputError, match="has no metric 'loss'; it has \\['accuracy'\\]"):
        plan_import(store, STORAGE, "shop", Choices(study="named", metric="loss"))


@pytest.mark.parametrize("address", ["nowhere.db", "x" * 300, "s3://bucket/x.csv", "."])
def test_what_nothing_can_read_is_named(store: ExperienceStore, address: str) -> None:
    with pytest.raises(InputError, match=r"no such file or folder|nothing that can be imported"):
        plan_import(store, address, "shop")


def test_a_password_is_not_shown_where_nothing_can_read_the_address(store: ExperienceStore) -> None:
    with pytest.raises(InputError, match=r"postgre://me:\*\*\*@host/db: nothing"):
        plan_import(store, "postgre://me:secret@host/db", "shop")


def test_columns_are_for_tables(store: ExperienceStore) -> None:
    with pytest.raises(InputError, match=r"--trial: for tables, and .* was written by optuna"):
        plan_import(store, STORAGE, "shop", Choices(columns={"trial": "x"}))


def test_a_password_is_not_kept(store: ExperienceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_source(STORAGE, None, None, {})
    monkeypatch.setattr(importing, "read_source", lambda *arguments: found)
    plan = plan_import(store, "postgresql://me:p@ss/w@host/db", "shop")
    assert plan.address == "postgresql://me:***@host/db"
    assert plan.studies[0].study.training["imported"]["from"] == plan.address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://host/db?user=me&password=p@s:s&x=1", "mysql://host/db?user=me&password=***&x=1"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dp", "mssql+pyodbc:///?odbc_connect=***"),
        ("sqlite:////data/a:b@c/old.db", "sqlite:////data/a:b@c/old.db"),
        ("data/pwd=1/old.db", "data/pwd=1/old.db"),
    ],
)
def test_what_is_secret_in_an_address_is_hidden(address: str, shown: str) -> None:
    assert hide_password(address) == shown


def test_a_trial_that_went_on_after_it_was_imported_is_told(
    store: ExperienceStore, tmp_path: Path
) -> None:
    columns = {"trial": "run", "step": "epoch", "state": "end"}
    for epochs, end in ((3, "stopped"), (9, "finished")):
        content = [
            {"run": run, "epoch": epoch, "lr": 0.1 * (1 + run), "loss": 9.0 - epoch, "end": end}
            for run in range(2)
            for epoch in range(1, epochs + 1)
        ]
        plan = import_(store, table(tmp_path / "x.json", content), columns=columns, **LOSS)
    (planned,) = plan.studies
    assert (len(planned.trials), planned.known) == (0, 2)
    reason = "was imported when it had come to step 3, of now 9; stays as it is"
    assert [(one.what, one.reason) for one in planned.left_out] == [
        ("trial 0", reason),
        ("trial 1", reason),
    ]


def test_a_copy_beside_the_source_adds_nothing(store: ExperienceStore, tmp_path: Path) -> None:
    for place in ("now", "backup"):
        copytree(RAY / "asha", tmp_path / "runs" / place / "asha")
    plan = import_(store, str(tmp_path / "runs"), **LOSS)
    assert [(len(one.trials), one.known) for one in plan.studies] == [(8, 0), (0, 8)]
    assert plan.studies[1].study.trials == len(store.trials()) == 8


def test_a_damaged_table_of_names_is_no_fault_of_the_source(
    store: ExperienceStore, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "aliases.toml").write_text("lr = 1")
    with pytest.raises(InputError, match=r"^\S*aliases.toml: lr = 1 must be a list of names"):
        plan_import(store, STORAGE, "shop")


def test_what_is_imported_is_learned_from(store: ExperienceStore, tmp_path: Path) -> None:
    from metatune.optimizers.transfer_model import fit

    content = [
        {"lr": 10.0 ** -(1 + n % 5), "batch_size": 16 << n % 3, "loss": float((n % 5 - 2) ** 2)}
        | ({"momentum": 0.1 * n} if n % 2 else {})
        for n in range(30)
    ]
    import_(store, table(tmp_path / "x.json", content), **LOSS)
    space = SearchSpace({"lr": Float(1e-6, 1.0, log=True), "momentum": Float(0.0, 5.0)})
    model = fit(store.past_tasks(space), space, 0)
    assert model is not None
    assert {config["lr"] for config in model.best(3)} == {1e-3}


def test_a_damaged_database_leaves_the_store_empty(store: ExperienceStore, tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(Path(STORAGE).read_bytes()[:30_000])
    with pytest.raises(InputError, match=r"x\.db: cannot be read"):
        import_(store, str(path))
    path.write_bytes(Path(STORAGE).read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE trial_values")
        connection.commit()
    with pytest.raises(InputError, match=r"study 'small' has no trials .*no such table"):
        import_(store, str(path))
    assert store.studies() == []


def test_trials_that_failed_everywhere_are_imported(store: ExperienceStore) -> None:
    trials: list[Trial] = [t for p in import_(store, STORAGE).studies for t in p.trials]
    failed = [trial for trial in trials if trial.state is TrialState.FAILED]
    assert {trial.error for trial in failed} == {"failed in Optuna, which does not keep why"}


def test_two_names_for_one_thing_in_one_study_are_not_taken_for_it(
    store: ExperienceStore, tmp_path: Path
) -> None:
    content = [{"lr": 0.1 * n, "eta": 0.2 * n, "bs": 2**n, "loss": 1.0} for n in range(1, 5)]
    plan = plan_import(store, table(tmp_path / "x.json", content), "shop", Choices(**LOSS))
    assert plan.studies[0].aliases == {"bs": "batch_size"}
