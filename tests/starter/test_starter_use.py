"""Searches of built-in networks start from the experience that comes with metatune."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from metatune import ExperienceStore, Float, SearchSpace, Study, Task, Trial, search, suggest
from metatune.cli.learning import learn
from metatune.errors import InputError, StudyError
from metatune.experience import starter
from metatune.experience.starter import PREFIX, starter_part, starter_store
from metatune.optimizers.auto import auto
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.portfolio import Portfolio
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.transfer_model import without
from metatune.orchestration import learning
from metatune.orchestration.learning import (
    OUTGROWN,
    StoreMemory,
    known_experience,
    learn_model,
    starter_note,
)
from metatune.orchestration.opening import open_study, record_study
from metatune.orchestration.prefitted import prefitted, put_prefitted
from metatune.orchestration.problem import network_problem, own_problem
from metatune.trial import Suggestion, TrialState, derive_seed

PROBLEM = network_problem("mlp", "iris")
SPACE = PROBLEM.space
FEW = ("starter-mlp-iris-all", "starter-mlp-wine-all", "starter-mlp-wine-noisy")


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperienceStore:
    """As if no more than three studies came with metatune."""
    all_there_is, kept = starter_store(), ExperienceStore(tmp_path / "few")
    for name in FEW:
        kept.put_study(all_there_is.study(name))
        kept.append(all_there_is.trials(study=name)[:12])
    monkeypatch.setattr(starter, "FOLDER", tmp_path / "few")
    return kept


@pytest.fixture
def store(tmp_path: Path) -> ExperienceStore:
    return ExperienceStore(tmp_path / "store")


def grow(store: ExperienceStore, name: str, count: int, space: SearchSpace = SPACE) -> None:
    """`count` more trials of a study of the user's."""
    known = store.trials(study=name)
    training = PROBLEM.training if space is SPACE else {}
    store.put_study(Study(name, Task(name, "validation_loss"), space, training=training))
    study = store.study(name)
    new = [
        replace(
            Trial(name, number, RandomSearch().suggest(study, [], 1, derive_seed(number))[0], 0),
            state=TrialState.COMPLETE,
            value=1.0 / (1 + number),
            finished_index=number,
        )
        for number in range(len(known), len(known) + count)
    ]
    store.append(new)


def opened(
    store: ExperienceStore, name: str = "new", optimizer: Any = auto, **options: Any
) -> tuple[Study, MetaOptimizer]:
    given: dict[str, Any] = {"memory": True, "starter": True} | options
    problem = given.pop("problem", PROBLEM)
    known = store.trials(study=name)
    study, meta, _ = open_study(
        store, problem, name, known,
        trials=5, seed=0, optimizer=optimizer, pruner=NoPruner(), **given,
    )  # fmt: skip
    record_study(store, study, known)
    return study, meta


def test_the_first_study_of_a_new_user_is_remembered(store: ExperienceStore) -> None:
    study, meta = opened(store)
    assert study.optimizer == "transfer"
    assert len(study.experience) >= 30
    assert study.model is not None
    (first,) = meta.suggest(study, [], 1, 0)
    assert first.optimizer == "transfer"
    assert set(first.tasks) == {s.task.name for s in starter_store().studies() if
                                s.name in study.experience}  # fmt: skip
    assert suggest("mlp", "iris", store=store.uri, count=1) == [first]


@pytest.mark.usefixtures("few")
def test_it_is_pinned_and_resumed(store: ExperienceStore) -> None:
    study, meta = opened(store)
    assert study.experience == dict.fromkeys(FEW, 12)
    (first,) = meta.suggest(study, [], 1, 0)
    store.append([Trial("new", 0, first, 0, TrialState.COMPLETE, value=1.0, finished_index=0)])
    grow(store, "mine", 12)
    again, resumed = opened(store)
    assert again == study
    assert resumed.suggest(again, [], 1, 0) == [first]
    with pytest.raises(StudyError, match=r"'new' was started with .* leave out --no-starter"):
        opened(store, starter=False)
    with pytest.raises(StudyError, match=r"was started with optimizer = 'transfer'"):
        opened(store, memory=False)
    assert opened(store, "newer")[0].experience == {**study.experience, "mine": 12, "new": 1}


@pytest.mark.usefixtures("few")
def test_it_can_be_left_out(store: ExperienceStore) -> None:
    options: list[dict[str, Any]] = [
        {"memory": False},
        {"starter": False},
        {"optimizer": TPE()},
        {"problem": own_problem(SPACE, "toy")},
        {"problem": own_problem(SearchSpace({"depth": SPACE.parameters["depth"]}), "toy")},
    ]
    for number, given in enumerate(options):
        study, _ = opened(store, f"s{number}", **given)
        assert (study.experience, study.model) == ({}, None)
    without = suggest("mlp", "iris", store=store, count=1, starter=False)
    assert without[0].optimizer != "transfer"
    own_task = suggest(SPACE, Task("toy"), store=store, count=1)
    assert own_task[0].optimizer != "transfer"


@pytest.mark.usefixtures("few")
def test_a_study_that_began_without_goes_on_without(store: ExperienceStore) -> None:
    study, _ = opened(store, starter=False)
    store.append([Trial("new", 0, Suggestion({}, "x"), 0, TrialState.FAILED, finished_index=0)])
    assert opened(store)[0] == study


@pytest.mark.usefixtures("few")
def test_optimizers_made_by_hand_are_given_it(store: ExperienceStore) -> None:
    grow(store, "mine", 4)
    seen = []

    def make(memory: Any) -> MetaOptimizer:
        seen.extend(memory.past_tasks())
        return Portfolio(seen)

    study, _ = opened(store, optimizer=make)
    assert [task.task.name for task in seen] == ["mine", "iris/all", "wine/all", "wine/noisy"]
    assert [len(task.trials) for task in seen] == [4, 12, 12, 12]
    assert study.experience == {**dict.fromkeys(FEW, 12), "mine": 4}


@pytest.mark.usefixtures("few")
def test_what_the_user_measured_comes_first(
    store: ExperienceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "MOST_TASKS", 3)
    for name in ("a", "b"):
        grow(store, name, 3)
    memory = StoreMemory(store, SPACE, known_experience(store, SPACE, starter=True))
    assert [task.task.name for task in memory.sample()] == ["a", "b", "iris/all"]
    grow(store, "c", 3)
    grow(store, "d", 3)
    memory = StoreMemory(store, SPACE, known_experience(store, SPACE, starter=True))
    assert [task.task.name for task in memory.sample()] == ["a", "b", "c"]


@pytest.mark.usefixtures("few")
def test_a_model_is_for_those_who_know_as_much_of_it(store: ExperienceStore) -> None:
    def used(starter: bool) -> str:
        experience = known_experience(store, SPACE, starter=starter)
        memory = StoreMemory(store, SPACE, experience)
        assert memory.model() is not None
        assert memory.used is not None
        return memory.used

    alone = used(True)
    assert used(True) == alone
    grow(store, "mine", 10)
    both, own = used(True), used(False)
    assert len({alone, both, own}) == 3
    assert (used(True), used(False)) == (both, own)
    grow(store, "mine", int(10 * OUTGROWN) - 10)
    assert (used(True), used(False)) == (both, own)
    grow(store, "mine", 1)
    assert used(True) not in (alone, both), "own trials outgrow a model, however many came along"
    learned = learn_model(memory := StoreMemory(
        store, SPACE, known_experience(store, SPACE, starter=True)), memory.sample())  # fmt: skip
    assert learned is not None
    assert used(True) == learned[0]


def test_a_model_that_comes_along_spares_the_fit(few: ExperienceStore) -> None:
    experience = known_experience(few, SPACE)
    past = StoreMemory(few, SPACE, experience).sample()
    assert prefitted(few, SPACE, past) is None
    fitted = StoreMemory(few, SPACE, experience, keep=False).model()
    assert fitted is not None
    put_prefitted(few, fitted)
    found = prefitted(few, SPACE, past)
    assert found is not None
    points = fitted.surrogates[0].sample.points
    assert (found.values(points) == fitted.values(points)).all()
    assert (found.prior.scales == fitted.prior.scales).all()
    assert [s.sample.task for s in found.surrogates] == [s.sample.task for s in fitted.surrogates]
    assert prefitted(few, SPACE, past[:2]) is None
    assert prefitted(few, network_problem("mlp", "diabetes").space, past) is None


def test_what_is_derived_from_a_task_is_left_out_with_it(few: ExperienceStore) -> None:
    model = StoreMemory(few, SPACE, known_experience(few, SPACE), keep=False).model()
    assert model is not None
    others = without(model, Task("wine"), 0)
    assert others is not None
    assert [s.sample.task.name for s in others.surrogates] == ["iris/all"]
    for name in ("win", "wine/no"):
        rest = without(model, Task(name), 0)
        assert rest is not None
        assert len(rest.surrogates) == 3


@pytest.mark.usefixtures("few")
def test_learning_ahead_knows_it_and_is_checked_on_what_the_user_did(
    store: ExperienceStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "wine"):
        grow(store, name, 12)
    learn(None, check=True, starter=True, store=store.uri, as_json=True)
    (told,) = json.loads(capsys.readouterr().out)["models"]
    assert (told["past_tasks"], told["trials"], told["starter_trials"]) == (5, 60, 36)
    assert {one["task"] for one in told["held_out"]} == {"mine", "wine"}
    assert opened(store)[0].model == told["model"]
    learn(["mlp"], check=False, starter=False, store=store.uri, as_json=True)
    (told,) = json.loads(capsys.readouterr().out)["models"]
    assert (told["past_tasks"], told["trials"], told["starter_trials"]) == (2, 24, 0)


def test_a_search_says_what_it_starts_from() -> None:
    assert starter_note({"mine": 5}) is None
    note = starter_note({"mine": 5, "starter-a": 1200, "starter-b": 34})
    assert note is not None
    assert note.startswith("starts from 1,234 trials on 2 tasks that come with metatune")
    assert starter_part({"mine": 5, "starter-a": 12}) == {"starter-a": 12}


def test_its_names_are_taken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"names that begin with '{PREFIX}'"):
        search("mlp", "iris", store=tmp_path, study="starter-mine", display=False)


@pytest.mark.usefixtures("cluster", "few")
def test_a_search_of_networks_starts_from_it_and_one_of_the_users_does_not(
    store: ExperienceStore, capfd: pytest.CaptureFixture[str]
) -> None:
    def own(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"]})

    result = search("mlp", "iris", store=store, trials=1, max_steps=2)
    assert set(FEW) == set(result.study.experience)
    assert result.trials[0].suggestion.optimizer == "transfer"
    assert "starts from 36 trials on 3 tasks that come with metatune" in capfd.readouterr().err
    space = SearchSpace({"x": Float(0, 1), "depth": SPACE.parameters["depth"]})
    result = search(space, "toy", own, store=store, trials=1, display=False)
    assert set(result.study.experience) == {"mlp-iris-0"}
