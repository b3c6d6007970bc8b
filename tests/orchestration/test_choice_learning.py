"""Losses and schedules that are learned across tasks, kept, and named in a search space."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_networks import SMALL

from metatune import Categorical, ExperienceStore, SearchSpace, Study, Trial, search
from metatune.errors import InputError, SpaceError
from metatune.export.documents import document, read, to_text
from metatune.export.python_script import to_script
from metatune.export.retraining import train
from metatune.networks.losses import COEFFICIENTS
from metatune.networks.schedules import POINTS
from metatune.networks.training import Training
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.choice_learning import learn_choice
from metatune.orchestration.learned_choices import (
    SETTINGS,
    Choice,
    Kind,
    choices,
    put_choice,
    with_learned,
)
from metatune.orchestration.problem import network_problem
from metatune.trial import Report, TrialState

LOSS = Choice(
    "loss", "ours", dict(zip(COEFFICIENTS, (0.1, 0.5, 1.2, 0.3, 0.0, 0.0), strict=True)), {}
)
SCHEDULE = Choice("schedule", "ours", dict(zip(POINTS, (1.0, 0.9, 0.5, 0.2, 0.1), strict=True)), {})
EITHER = SearchSpace(
    {**SMALL.parameters, "loss": Categorical(("cross_entropy", "mse"))},
    {**SMALL.when, "label_smoothing": {"loss": ("cross_entropy",)}},
)
OURS = SearchSpace(
    {
        **{k: v for k, v in SMALL.parameters.items() if k != "final_fraction"},
        "loss": Categorical(("cross_entropy", "ours")),
        "schedule": Categorical(("ours", "constant")),
    },
    {"label_smoothing": {"loss": ("cross_entropy",)}},
)


def remembered(store: ExperienceStore, task: str, count: int = 3, epochs: int = 4) -> None:
    """Put a study of random trials, trained here, into a store."""
    problem = network_problem(EITHER, task, epochs)
    assert problem.dataset is not None
    study = Study(f"small-{task}", problem.task, problem.space, training=problem.training)
    store.put_study(study)
    trials = []
    for number, suggestion in enumerate(RandomSearch().suggest(study, [], count, 0)):
        run = Training(suggestion.config, problem.dataset, number, epochs)
        curve = tuple(
            Report(step, scores["validation_loss"], 0.1) for step, scores in enumerate(run.fit(), 1)
        )
        trial = Trial(study.name, number, suggestion, number, training=problem.training)
        value = problem.task.value(curve)
        trials.append(
            replace(
                trial, state=TrialState.COMPLETE, curve=curve, value=value, finished_index=number
            )
        )
    store.append(trials)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ExperienceStore:
    made = ExperienceStore(tmp_path_factory.mktemp("remembered"))
    for task in ("iris", "wine", "diabetes"):
        remembered(made, task)
    return made


@pytest.mark.parametrize(("kind", "tasks"), [("loss", 2), ("schedule", 3)])
def test_a_choice_is_learned_from_every_task_it_fits(
    store: ExperienceStore, kind: Kind, tasks: int
) -> None:
    found = learn_choice(store, kind, "ours", rounds=2, batch=6, seeds=1)
    assert found.choice.values.keys() == set(SETTINGS[kind])
    assert len(found.factors) == tasks
    assert found.left_out is not None
    assert found.left_out.keys() == found.factors.keys()
    # The first candidate changes little, so the best is better than that on average.
    product = 1.0
    for factor in found.factors.values():
        product *= factor
    assert product < 1.05
    assert found == learn_choice(store, kind, "ours", rounds=2, batch=6, seeds=1)


def test_the_neutral_candidate_changes_nothing(store: ExperienceStore) -> None:
    found = learn_choice(store, "loss", "ours", rounds=1, batch=1, seeds=2)
    neutral = {name: neutral for name, (_, _, neutral) in COEFFICIENTS.items()}
    assert found.choice.values == neutral


def test_the_latest_choice_of_a_name_is_kept(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    put_choice(store, LOSS)
    put_choice(store, SCHEDULE)
    changed = replace(LOSS, values={**LOSS.values, "poly_1": 2.0})
    put_choice(store, changed)
    found = {(c.kind, c.name): dict(c.values) for c in choices(store)}
    assert found == {("loss", "ours"): changed.values, ("schedule", "ours"): SCHEDULE.values}


def test_what_is_not_learned_is_said(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    with pytest.raises(
        SpaceError, match=r"\[loss\] choices: 'ours' is neither .*learn --loss ours"
    ):
        with_learned(network_problem(OURS, "iris"), store, "new", [])
    with pytest.raises(InputError, match="no classification task"):
        learn_choice(store, "loss", "ours")
    with pytest.raises(InputError, match=r"--schedule 'cosine' must be a name .*none of the built"):
        learn_choice(store, "schedule", "cosine")


@pytest.mark.usefixtures("cluster")
def test_a_search_uses_learned_choices_and_pins_them(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path / "store")
    for choice in (LOSS, SCHEDULE):
        put_choice(store, choice)
    options = {"max_steps": 3, "store": store, "optimizer": RandomSearch(), "display": False}
    result = search(OURS, "iris", trials=4, population=2, **options)  # type: ignore[arg-type]
    put_choice(store, replace(SCHEDULE, values=dict.fromkeys(POINTS, 0.5)))
    result = search(OURS, "iris", trials=6, population=2, **options)  # type: ignore[arg-type]
    assert [t.error for t in result.trials] == [None] * 6
    assert all(t.training["schedules"] == {"ours": SCHEDULE.values} for t in result.trials)
    used = [t for t in result.trials if t.config["loss"] == t.config["schedule"] == "ours"]
    assert used
    exported = document(result.study, used[0])
    file = tmp_path / "best.toml"
    file.write_text(to_text(exported, "toml"))
    again = train(read(file))
    assert again.value == pytest.approx(exported["result"]["value"], rel=1e-5)
    script = to_script(exported, result.study.space)
    assert "'loss': 'parametric'" in script
    assert "'schedule': 'piecewise'" in script
