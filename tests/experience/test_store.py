"""The store does the same in a folder and on S3."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import fs
from samples import SPACE, TASK, make_study, make_trial, running
from test_files import HARD_NAMES

from metatune.errors import InputError, StoreAddressError, StoreError, StudyError
from metatune.experience.store import ExperienceStore
from metatune.parameters import Float, Integer
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Trial, TrialState


@pytest.fixture
def store(uri: str) -> ExperienceStore:
    return ExperienceStore(uri)


def test_a_store_that_does_not_exist_is_empty(store: ExperienceStore) -> None:
    assert not any((store.studies(), store.tasks(), store.trials(), store.verify()))
    assert store.find_study("s") is None
    assert store.trials(study="s", task="t") == store.trials(task="t") == []
    assert store.cutoff() == {}
    assert store.past_tasks() == store.past_tasks(SPACE, {"s": 3}) == []
    assert store.compact().files_written == 0


def test_studies_are_put_found_listed_and_replaced(store: ExperienceStore) -> None:
    study = Study(
        "b",
        replace(TASK, metafeatures={"rows": 1797.0}),
        SPACE,
        seed=2**70,
        trials=5,
        optimizer="transfer",
        experience={"a": 3},
        training={"epochs": 3, "threads": None},
        versions={"torch": "2"},
    )
    store.put_study(study)
    store.put_study(make_study("a"))
    assert store.study("b") == store.find_study("b") == study
    assert list(store.study("b").space.parameters) == list(SPACE.parameters)
    grown = replace(study, trials=50)
    store.put_study(grown)
    assert store.study("b") == grown
    assert [s.name for s in store.studies()] == ["a", "b"]
    assert store.tasks() == [study.task, TASK]
    assert ExperienceStore(store.uri).studies() == store.studies()
    assert store.verify() == []


def test_an_unknown_study_is_refused_with_its_neighbours(store: ExperienceStore) -> None:
    with pytest.raises(StudyError, match=r"study 'x' is unknown in .*; the store has none yet"):
        store.study("x")
    store.put_study(make_study("mlp-digits-0"))
    with pytest.raises(StudyError, match=r"is it one of \['mlp-digits-0'\]\?"):
        store.study("mlp-digit-0")
    with pytest.raises(StudyError, match=r"study 'other' is unknown in .*; put_study it first"):
        store.append([make_trial(0), make_trial(0, "other")][1:])
    with pytest.raises(StudyError, match="study name '' is empty"):
        store.study("")


def test_a_study_keeps_its_task_and_space(store: ExperienceStore) -> None:
    store.put_study(make_study())
    with pytest.raises(StudyError, match=r"study 's' is of task 'digits' and space .* not 'wine'"):
        store.put_study(make_study(task=Task("wine")))
    with pytest.raises(StudyError, match="give the new one another name"):
        store.put_study(make_study(space=SearchSpace({"x": Float(0, 1)})))


def test_trials_are_read_in_order_and_filtered(store: ExperienceStore) -> None:
    for name, task in (("b", TASK), ("a", TASK), ("c", Task("wine"))):
        store.put_study(make_study(name, task))
    trials = {name: [make_trial(0, name), running(1, name)] for name in "abc"}
    store.append([*trials["b"], trials["a"][1], trials["c"][0]])
    store.append([trials["c"][1], trials["a"][0]])
    store.append([])
    assert store.trials() == trials["a"] + trials["b"] + trials["c"]
    for name in "abc":
        assert store.trials(study=name) == trials[name]
    assert store.trials(task="digits") == trials["a"] + trials["b"]
    assert store.trials(study="c", task="wine") == trials["c"]
    assert store.trials(study="c", task="digits") == store.trials(study="d") == []
    assert store.trials(states={TrialState.RUNNING}) == [trials[n][1] for n in "abc"]
    assert store.trials(study="a", states=[TrialState.FAILED]) == []
    assert store.trials(study="a", states=()) == []
    files = store.filesystem.get_file_info(fs.FileSelector(store.path("trials"), recursive=True))
    assert sum(file.type == fs.FileType.File for file in files) == 4


def test_the_last_revision_holds_before_states_are_asked_for(store: ExperienceStore) -> None:
    store.put_study(make_study())
    store.append([running(0), running(1)])
    store.append([make_trial(0, revision=1, value=0.1)])
    store.append([make_trial(0, revision=2, value=0.2)])
    store.append([make_trial(0, revision=1, value=0.3)])
    assert store.trials(states={TrialState.RUNNING}) == [running(1)]
    assert [t.value for t in store.trials(states={TrialState.COMPLETE})] == [0.2]
    assert [t.revision for t in store.trials(study="s")] == [2, 0]


def test_of_equal_revisions_the_same_is_picked_whatever_is_read(store: ExperienceStore) -> None:
    store.put_study(make_study())
    rivals = [make_trial(0, value=float(value), seed=value) for value in range(5)]
    for rival in rivals:
        store.append([rival])
    (held,) = store.trials()
    assert store.trials(columns=("value",))[0].value == held.value
    assert store.trials(columns=())[0].seed == held.seed
    store.compact(grace_seconds=0)
    for rival in rivals:
        store.append([rival])
    assert store.trials() == [held]


def test_columns_are_not_read_where_left_out(store: ExperienceStore) -> None:
    store.put_study(make_study())
    store.append([make_trial(error="boom")])
    (trial,) = store.trials(columns=("value", "finished_index"))
    assert (trial.value, trial.finished_index, trial.curve, trial.error) == (0.5, 0, (), None)
    with pytest.raises(InputError, match="'curves' is no field"):
        store.trials(columns=("curves",))


def test_a_batch_with_a_value_that_cannot_be_stored_records_nothing(
    store: ExperienceStore,
) -> None:
    store.put_study(make_study())
    store.put_study(make_study("t", Task("wine")))
    with pytest.raises(StoreError, match="trial t-0: seed"):
        store.append([make_trial(0), make_trial(0, "t", seed=2**64)])
    with pytest.raises(StudyError, match="unknown"):
        store.append([make_trial(0), make_trial(0, "never put")])
    assert store.trials() == []
    with pytest.raises(StudyError, match=r"study 'u' cannot be stored: \{1\} is neither text"):
        store.put_study(replace(make_study("u"), training={"x": {1}}))


def test_names_stay_in_their_folders(store: ExperienceStore) -> None:
    for name in HARD_NAMES:
        store.put_study(make_study(name, Task(name)))
        store.append([make_trial(0, name)])
        assert store.trials(study=name) == store.trials(task=name) == [make_trial(0, name)]
        with store.lease(name):
            pass
    assert [study.name for study in store.studies()] == sorted(HARD_NAMES)
    assert len(store.trials()) == len(HARD_NAMES)
    assert store.verify() == []
    above = store.path().rpartition("/")[0]
    found = store.filesystem.get_file_info(fs.FileSelector(above, recursive=True))
    for file in found:
        assert f"{file.path}/".startswith(f"{store.path()}/")


def test_the_cutoff_counts_finished_trials(store: ExperienceStore) -> None:
    for name in "abc":
        store.put_study(make_study(name))
    store.append([make_trial(n, "a", finished_index=4 - n) for n in range(5)])
    store.append([make_trial(0, "b"), running(1, "b"), running(0, "c")])
    assert store.cutoff() == {"a": 5, "b": 1}
    assert store.cutoff(without=("a", "x")) == {"b": 1}


def _numbers(trials: tuple[Trial, ...]) -> list[tuple[str, int]]:
    return [(trial.study, trial.number) for trial in trials]


def test_past_tasks_are_finished_trials_lower_is_better(store: ExperienceStore) -> None:
    wine = Task("wine", "loss", "minimize")
    for name, task in (("b", TASK), ("a", TASK), ("c", wine)):
        store.put_study(make_study(name, task))
    failed = make_trial(1, "a", state=TrialState.FAILED, value=None, curve=(), error="boom")
    store.append([make_trial(0, "b"), make_trial(0, "a"), failed, running(2, "a")])
    store.append([make_trial(0, "c")])
    digits, other = store.past_tasks()
    assert (digits.task, digits.space, other.task) == (TASK, SPACE, wine)
    assert _numbers(digits.trials) == [("a", 0), ("a", 1), ("b", 0)]
    assert digits.trials[0] == make_trial(0, "a").inward(TASK)
    assert [t.value for t in digits.trials] == [-0.5, None, -0.5]
    assert [r.value for r in digits.trials[0].curve] == [-0.25, -0.5]
    assert other.trials == (make_trial(0, "c"),)


def test_past_tasks_are_told_apart_by_what_they_measure(store: ExperienceStore) -> None:
    tasks = [
        Task("t", data_hash="1"),
        Task("t", data_hash="2"),
        Task("t", metric="accuracy", direction="maximize", data_hash="1"),
        Task("t", measure="best", data_hash="1"),
        Task("t", data_hash="1", description="the same data"),
    ]
    for number, task in enumerate(tasks):
        store.put_study(make_study(str(number), task))
        store.append([make_trial(0, str(number))])
    groups = [[trial.study for trial in past.trials] for past in store.past_tasks()]
    assert groups == [["2"], ["3"], ["0", "4"], ["1"]]
    assert store.past_tasks()[2].task == tasks[0]


def test_past_tasks_up_to_a_cutoff_are_what_they_were(store: ExperienceStore) -> None:
    for name in ("old", "other"):
        store.put_study(make_study(name))
        store.append([make_trial(n, name, finished_index=2 - n) for n in range(3)])
    known, cutoff = store.past_tasks(), store.cutoff()
    store.put_study(make_study("new"))
    store.append([make_trial(0, "new"), make_trial(3, "old"), running(4, "old")])
    assert store.past_tasks(cutoff=cutoff) == known != store.past_tasks()
    (one,) = store.past_tasks(cutoff={"old": 2, "gone": 5}, without=("other",))
    assert _numbers(one.trials) == [("old", 1), ("old", 2)]
    (rest,) = store.past_tasks(without=("old", "new"))
    assert {trial.study for trial in rest.trials} == {"other"}
    assert store.past_tasks(cutoff={}) == []


def test_past_tasks_of_spaces_that_share_a_parameter(store: ExperienceStore) -> None:
    spaces = {
        "wider": SearchSpace({"lr": Float(1e-9, 10), "layers": Integer(1, 4)}),
        "kind": SearchSpace({"lr": Integer(1, 4)}),
        "none": SearchSpace({"layers": Integer(1, 4)}),
    }
    for name, space in spaces.items():
        store.put_study(make_study(name, space=space))
        store.append([make_trial(0, name)])
    assert [past.space for past in store.past_tasks(SPACE)] == [spaces["wider"]]
    assert {past.space.id for past in store.past_tasks()} == {s.id for s in spaces.values()}


def test_a_writable_store_is_left_as_it_was(store: ExperienceStore) -> None:
    store.check_writable()
    found = store.filesystem.get_file_info(
        fs.FileSelector(store.path(), allow_not_found=True, recursive=True)
    )
    assert [file for file in found if file.type == fs.FileType.File] == []


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "store", tmp_path / "file"):
        store = ExperienceStore(folder)
        with pytest.raises(StoreAddressError, match=r"is not writable: .*(directory|exists)") as no:
            store.check_writable()
        assert "\n" not in str(no.value)
        with pytest.raises((StoreAddressError, StoreError)):
            store.put_study(make_study())


@pytest.mark.slow  # the client asks three times, 2 s apart
def test_a_server_that_does_not_answer_is_named(s3_options: str) -> None:
    store = ExperienceStore("s3://b/x?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:1")
    with pytest.raises(StoreAddressError, match=r"not writable: .*Could not connect"):
        store.check_writable()


def test_reading_warns_of_nothing(store: ExperienceStore) -> None:
    store.put_study(make_study())
    store.append([make_trial()])
    with warnings.catch_warnings(record=True) as caught:
        store.trials()
        store.studies()
        store.past_tasks()
    assert caught == []
