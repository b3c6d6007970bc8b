"""Which fitted model a study uses: on a real store."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metatune import ExperienceStore, Float, SearchSpace, Study, Task, Trial, search, suggest
from metatune.errors import ExperienceWarning, StoreError, StudyError
from metatune.optimizers.auto import auto, transfer
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.portfolio import Portfolio
from metatune.optimizers.pruning import NoPruner, Pruner, SuccessiveHalving
from metatune.optimizers.threads import one_thread
from metatune.optimizers.transfer_model import TransferModel
from metatune.orchestration.learning import OUTGROWN, StoreMemory, learn_model
from metatune.orchestration.opening import open_study, record_study
from metatune.orchestration.problem import own_problem
from metatune.trial import Suggestion, TrialState

SPACE = SearchSpace({"x": Float(0.0, 1.0)})
OTHER = SearchSpace({"z": Float(0.0, 1.0)})


def grow(store: ExperienceStore, name: str, count: int, space: SearchSpace = SPACE) -> None:
    """`count` more trials of a study on a task of the same name."""
    known = store.trials(study=name)
    store.put_study(Study(name, Task(name), space))
    rng = np.random.default_rng(len(known))
    configs = [{space.names[0]: float(rng.random())} for _ in range(count)]
    store.append(
        [
            Trial(
                name,
                len(known) + number,
                Suggestion({**config}, "random"),
                0,
                TrialState.COMPLETE,
                value=(config[space.names[0]] - 0.6) ** 2,
                finished_index=len(known) + number,
            )
            for number, config in enumerate(configs)
        ]
    )


@pytest.fixture
def store(tmp_path: Path) -> ExperienceStore:
    store = ExperienceStore(tmp_path / "store")
    grow(store, "old", 10)
    grow(store, "older", 10)
    return store


def memory(store: ExperienceStore, keep: bool = True) -> StoreMemory:
    return StoreMemory(store, SPACE, store.cutoff(SPACE), keep=keep)


def used(store: ExperienceStore) -> str:
    """The id of the model that a new study would use."""
    asked = memory(store)
    assert asked.model() is not None
    assert asked.used is not None
    return asked.used


def opened(store: ExperienceStore, name: str = "new") -> tuple[Study, MetaOptimizer]:
    problem = own_problem(SPACE, name)
    known = store.trials(study=name)
    study, meta, _ = open_study(
        store, problem, name, known,
        trials=5, seed=0, optimizer=auto, memory=True, pruner=NoPruner(),
    )  # fmt: skip
    record_study(store, study, known)
    return study, meta


def test_a_model_is_fitted_once_and_kept(store: ExperienceStore) -> None:
    first = used(store)
    ((kept, record),) = store.models(SPACE.id)
    assert (kept, record["trials"]) == (first, 20)
    assert used(store) == first
    assert len(store.models(SPACE.id)) == 1


def test_it_is_fitted_again_once_it_is_outgrown(store: ExperienceStore) -> None:
    first = used(store)
    grow(store, "old", int(20 * OUTGROWN) - 20)
    assert used(store) == first
    grow(store, "old", 1)
    second = used(store)
    assert second != first
    assert {model for model, _ in store.models(SPACE.id)} == {first, second}
    assert used(store) == second


def test_what_experience_proposes_is_stopped_later(store: ExperienceStore) -> None:
    def stops(pruner: Pruner | None = None, *, memory: bool = True) -> Pruner:
        known = store.trials(study="new")
        study, _, stops = open_study(
            store, own_problem(SPACE, "new", max_steps=27), "new", known,
            trials=5, seed=0, optimizer=auto, memory=memory, pruner=pruner,
        )  # fmt: skip
        record_study(store, study, known)
        return stops

    assert stops(memory=False) == SuccessiveHalving(3, max_step=27)
    assert stops() == SuccessiveHalving(9, max_step=27)
    begun = stops(SuccessiveHalving(3, max_step=27))
    store.append([Trial("new", 0, Suggestion({"x": 0.5}, "random"), 0)])
    assert stops() == begun  # as earlier versions stopped what experience proposed


def test_experience_of_other_spaces_does_not_outgrow_it(store: ExperienceStore) -> None:
    first = used(store)
    grow(store, "elsewhere", 100, OTHER)
    assert used(store) == first


def test_nothing_is_learned_from_nothing(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path / "store")
    for _ in range(2):
        asked = memory(store)
        assert asked.model() is None
        assert asked.used is None
        grow(store, "elsewhere", 10, OTHER)
        grow(store, "short", 1)
    assert store.models(SPACE.id) == []


def test_a_damaged_model_is_told_and_fitted_again(store: ExperienceStore, tmp_path: Path) -> None:
    first = used(store)
    (arrays,) = (tmp_path / "store" / "models").rglob("*.safetensors")
    arrays.write_bytes(b"")
    with pytest.warns(ExperienceWarning, match=f"a model is left out: .*{first}"):
        assert used(store) == first
    assert store.verify() == []
    (record,) = (tmp_path / "store" / "models").rglob("*.json")
    record.write_bytes(b"")
    with pytest.warns(ExperienceWarning, match=first):
        assert used(store) == first


def test_a_model_of_another_version_is_not_used(store: ExperienceStore) -> None:
    first = used(store)
    record, arrays = store.model(SPACE.id, first)
    store.put_model(SPACE.id, {**record, "version": 99, "trials": 21}, arrays)
    assert used(store) == first


def test_a_study_goes_on_with_the_model_it_began_with(store: ExperienceStore) -> None:
    study, meta = opened(store)
    assert study.model == used(store)
    first = meta.suggest(study, [], 3, 0)
    store.append([Trial("new", 0, first[0], 0, TrialState.COMPLETE, value=1.0, finished_index=0)])
    grow(store, "old", 50)
    assert used(store) != study.model
    again, resumed = opened(store)
    assert again == study
    assert resumed.suggest(again, [], 3, 0) == first
    assert opened(store, "newer")[0].model != study.model


def test_a_model_that_is_gone_is_named(store: ExperienceStore, tmp_path: Path) -> None:
    study, _ = opened(store)
    grow(store, "new", 1)
    store.put_study(study)
    for path in (tmp_path / "store" / "models").rglob("*.json"):
        path.unlink()
    with pytest.raises(
        StoreError, match=r"study 'new' goes on with .*no such model.*--study"
    ) as no:
        opened(store)
    assert str(study.model) in str(no.value)
    assert "\n" not in str(no.value)


def test_a_study_that_began_with_nothing_stays_so(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path / "store")
    study, _ = opened(store)
    assert study.model is None
    grow(store, "new", 1)
    store.put_study(study)
    grow(store, "old", 10)
    again, _ = opened(store)
    assert (again.model, again.optimizer) == (None, study.optimizer)
    without, _ = opened(store, "newer")
    assert without.optimizer == "transfer"


def test_two_that_fit_at_once_do_no_harm(store: ExperienceStore) -> None:
    asked = [memory(store) for _ in range(3)]
    threads = [threading.Thread(target=one.model) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = {model for model, _ in store.models(SPACE.id)}
    assert {one.used for one in asked} == kept
    assert store.verify() == []


def test_what_is_only_asked_is_not_kept(store: ExperienceStore) -> None:
    proposed = suggest(SPACE, Task("new"), store=store, count=2)
    assert [s.optimizer for s in proposed] == ["transfer", "transfer"]
    assert store.models(SPACE.id) == []
    used(store)
    assert suggest(SPACE, Task("new"), store=store, count=2) == proposed


def test_the_past_tasks_are_there_for_optimizers_made_by_hand(store: ExperienceStore) -> None:
    (first,) = suggest(
        SPACE, Task("new"), store=store, count=1,
        optimizer=lambda memory: Portfolio(memory.past_tasks()),
    )  # fmt: skip
    assert first.optimizer == "portfolio"
    assert memory(store).past_tasks() == store.past_tasks(SPACE)


def test_learning_ahead_is_what_a_search_then_uses(store: ExperienceStore) -> None:
    shown: list[tuple[str, int, int]] = []
    asked = memory(store)
    asked.progress = lambda *done: shown.append(done)
    learned = learn_model(asked, asked.sample())
    assert learned is not None
    assert isinstance(learned[1], TransferModel)
    assert used(store) == learned[0]
    assert shown[-1][1] == shown[-1][2]
    elsewhere = StoreMemory(store, OTHER, store.cutoff(SPACE))
    assert learn_model(elsewhere, asked.sample()) is None


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("cluster")
def test_a_search_learns_and_its_record_says_from_what(store: ExperienceStore) -> None:
    from trainables import function

    def run(trials: int, memory: bool = True, name: str = "s") -> Study:
        return search(
            SPACE, "toy", function, trials=trials, study=name, store=store, memory=memory,
            pruner=NoPruner(), display=False,
        ).study  # fmt: skip

    study = run(2)
    assert study.model == used(store)
    assert study.experience == {"old": 10, "older": 10}
    assert {trial.suggestion.optimizer for trial in store.trials(study="s")} == {"transfer"}
    grow(store, "old", 30)
    assert run(3) == replace(study, trials=3)
    with pytest.raises(StudyError, match="was started with optimizer = 'transfer'"):
        run(4, memory=False)
    forgetful = run(1, memory=False, name="forgetful")
    assert (forgetful.model, forgetful.experience) == (None, {})


@pytest.mark.usefixtures("cluster")
def test_without_memory_a_study_that_uses_it_cannot_go_on(store: ExperienceStore) -> None:
    from trainables import function

    def run(trials: int, memory: bool) -> Study:
        return search(
            SPACE, "toy", function, trials=trials, store=store, memory=memory,
            optimizer=transfer, pruner=NoPruner(), display=False,
        ).study  # fmt: skip

    assert run(1, memory=True).model == used(store)
    with pytest.raises(StudyError, match="was started with what earlier studies learned"):
        run(2, memory=False)


def test_a_study_goes_on_with_the_names_it_began_with(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path / "store")
    grow(store, "old", 10, SearchSpace({"eks": Float(0.0, 1.0)}))
    table = tmp_path / "store" / "aliases.toml"
    table.write_text('x = ["eks"]\n')

    def portfolio() -> tuple[Study, list[Suggestion]]:
        kept = ExperienceStore(store.uri)
        study, meta, _ = open_study(
            kept, own_problem(SPACE, "new"), "new", kept.trials(study="new"),
            trials=5, seed=0, optimizer=lambda memory: Portfolio(memory.past_tasks()),
            memory=True, pruner=NoPruner(),
        )  # fmt: skip
        return study, meta.suggest(study, [], 2, 0)

    study, proposed = portfolio()
    assert study.aliases == {"eks": "x"}
    assert proposed[0].tasks == {"old": 1.0}
    store.put_study(study)
    first = Trial("new", 0, proposed[0], 0, TrialState.COMPLETE, value=1.0, finished_index=0)
    store.append([first])
    table.write_text("")
    assert portfolio() == (study, proposed)
