"""Initial weights that are learned on the tasks of a store, kept, and named in a search space."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_networks import SMALL
from typer.testing import CliRunner

from metatune import Categorical, ExperienceStore, SearchSpace, Study, Trial
from metatune.cli import app
from metatune.errors import InputError, SpaceError, StoreError
from metatune.export.documents import document, read, to_text
from metatune.export.retraining import train
from metatune.networks.training import Training
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.initial_weights import InitialWeights
from metatune.orchestration.initialization_learning import epochs_to, learn_initializations
from metatune.orchestration.learned_initializations import with_initializations
from metatune.orchestration.problem import network_problem
from metatune.trial import Report, TrialState

DEEP = SearchSpace({**SMALL.parameters, "depth": Categorical((2, 3))}, SMALL.when)
LEARNED = SearchSpace(
    {**DEEP.parameters, "initializer": Categorical(("default", "learned"))}, DEEP.when
)


def remembered(store: ExperienceStore, task: str, count: int = 3, epochs: int = 3) -> Study:
    """Put a study of random trials, trained here, into a store."""
    problem = network_problem(DEEP, task, epochs)
    assert problem.dataset is not None
    study = Study(f"deep-{Path(task).stem}", problem.task, DEEP, training=problem.training)
    store.put_study(study)
    trials = []
    for number, suggestion in enumerate(RandomSearch().suggest(study, [], count, 0)):
        losses = [
            scores["validation_loss"]
            for scores in Training(suggestion.config, problem.dataset, number, epochs).fit()
        ]
        trial = Trial(
            study.name,
            number,
            suggestion,
            number,
            TrialState.COMPLETE,
            tuple(Report(step, loss, 0.1) for step, loss in enumerate(losses, 1)),
            min(losses),
            number,
            training=problem.training,
        )
        trials.append(trial)
    store.append(trials)
    return study


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ExperienceStore:
    made = ExperienceStore(tmp_path_factory.mktemp("learned") / "store")
    for task in ("iris", "wine"):
        remembered(made, task)
    return made


def test_it_is_learned_kept_and_pinned(store: ExperienceStore, tmp_path: Path) -> None:
    problem = network_problem(LEARNED, "breast_cancer", 3)
    with pytest.raises(SpaceError, match=r"'learned' for the network 'mlp' is not in the store"):
        with_initializations(problem, store, "s", [])
    (found,) = learn_initializations(store, LEARNED, rounds=3, updates=4)
    assert found.tasks == ("iris", "wine")
    assert [one.task for one in found.check] == ["iris", "wine"]
    assert found.architecture["depth"] in (2, 3)
    assert store.verify() == []
    pinned = with_initializations(problem, store, "s", [])
    assert pinned.training["initializations"] == {"mlp": found.id}
    # A study that has begun goes on with what it began with.
    study = Study("s", problem.task, problem.space, training=pinned.training)
    store.put_study(study)
    (suggestion,) = RandomSearch().suggest(study, [], 1, 3)
    config = {**suggestion.config, "initializer": "learned"}
    began = Trial("s", 0, RandomSearch().suggest(study, [], 1, 3, config)[0], 5)
    (later,) = learn_initializations(store, LEARNED, "fomaml", rounds=2, updates=4, check=False)
    assert later.id != found.id
    assert later.check == ()
    assert with_initializations(problem, store, "t", []).training != pinned.training
    assert with_initializations(problem, store, "s", [began]) == pinned
    # What is exported trains to the same, as long as the store is there.
    learned = InitialWeights(store.uri).learned(pinned.training)
    assert problem.dataset is not None
    run = Training(began.config, problem.dataset, began.seed, 3, learned=learned)
    losses = [scores["validation_loss"] for scores in run.fit()]
    curve = tuple(Report(step, loss, 0.1) for step, loss in enumerate(losses, 1))
    ended = Trial(
        "s", 0, began.suggestion, 5, TrialState.COMPLETE, curve, min(losses), 0,
        training=pinned.training,
    )  # fmt: skip
    path = tmp_path / "best.toml"
    path.write_text(to_text(document(study, ended, store=store.uri), "toml"))
    assert train(read(path)).value == ended.value
    gone = document(study, ended, store=str(tmp_path / "elsewhere"))
    with pytest.raises(StoreError, match=f"initial weights {found.id} .* cannot be read"):
        train(gone)
    plain = {**began.config, "initializer": "default"}
    other = Trial("s", 1, RandomSearch().suggest(study, [], 1, 3, plain)[0], 5, TrialState.COMPLETE)
    assert "store" not in document(study, other, store=store.uri)["training"]


def test_tasks_whose_data_is_gone_are_named_and_left_out(tmp_path: Path) -> None:
    kept = ExperienceStore(tmp_path / "store")
    rows = "\n".join(f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(60))
    data = tmp_path / "table.csv"
    data.write_text(f"x,y,target\n{rows}\n")
    for task in ("iris", "wine", str(data)):
        remembered(kept, task, count=1)
    data.unlink()
    (found,) = learn_initializations(kept, LEARNED, rounds=1, updates=2, check=False)
    assert found.tasks == ("iris", "wine")
    assert set(found.left_out) == {"table"}
    with pytest.raises(InputError, match="has 0 tasks that 'cnn' was trained on"):
        learn_initializations(kept, SearchSpace.load("cnn"))
    with pytest.raises(SpaceError, match="no \\[network\\]"):
        learn_initializations(kept, SearchSpace({"x": Categorical((1, 2))}))


def test_the_command_line_learns_and_says_what_it_is_worth(
    store: ExperienceStore, tmp_path: Path
) -> None:
    space = tmp_path / "space.toml"
    space.write_text(LEARNED.to_toml())
    command = ["learn", "--initialization", str(space), "--store", store.uri]
    done = CliRunner().invoke(app, [*command, "--json", "--no-check"])
    (found,) = json.loads(done.stdout)["initializations"]
    assert found["network"] == "mlp"
    assert found["tasks"] == ["iris", "wine"]
    refused = CliRunner().invoke(app, [*command, "--method", "maml"])
    assert isinstance(refused.exception, InputError)
    assert "method = 'maml' must be one of" in str(refused.exception)


def test_epochs_are_counted_from_one_and_may_be_infinite() -> None:
    assert epochs_to(0.5, [0.9, 0.5, 0.1]) == 2
    assert epochs_to(0.05, [0.9, 0.5, 0.1]) == float("inf")
