"""Proposals that are refined before they are trained, alone and as members of populations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small_networks import SMALL

from metatune import Categorical, ExperienceStore, Float, SearchSpace, Study, Trial, search
from metatune.errors import ConfigurationError
from metatune.export import documents, retraining
from metatune.networks.data.loading import load
from metatune.networks.population import Population
from metatune.networks.training import Training
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.initial_weights import NOWHERE
from metatune.orchestration.population_worker import PopulationWorker
from metatune.orchestration.populations import Populations
from metatune.orchestration.problem import network_problem
from metatune.orchestration.recorder import tell
from metatune.orchestration.running import Resources
from metatune.orchestration.snapshots import Snapshots
from metatune.orchestration.trainable import NetworkTrainable, configured
from metatune.trial import TrialState

EPOCHS = 2
SPACE = SearchSpace(
    {**SMALL.parameters, "refine": Categorical(("hypergradient",)),
     "learning_rate": Float(1e-6, 10.0, log=True)},
    SMALL.when,
)  # fmt: skip


def driver(rows: list[Trial], trials: int, known: Sequence[Trial] = ()) -> Coordinator:
    problem = network_problem(SPACE, "iris", EPOCHS)
    study = Study("s", problem.task, problem.space, 3, trials, training=problem.training)
    commits = GroupCommit(rows.extend)
    commits.__enter__()
    return Coordinator(study, known, RandomSearch(), NoPruner(), commits)


def trained(coordinator: Coordinator, trial: Trial) -> NetworkTrainable:
    """What trains a trial by itself, without Ray."""
    made: NetworkTrainable = object.__new__(NetworkTrainable)
    training, space = dict(coordinator.study.training), coordinator.study.space
    made.setup(configured(trial), load("iris"), training, NOWHERE, space)
    return made


def test_the_record_says_what_is_trained_and_what_was_proposed() -> None:
    rows: list[Trial] = []
    coordinator = driver(rows, 1)
    proposed = coordinator.ask()
    assert proposed is not None
    coordinator.refine(0, {"learning_rate": 0.02}, 1.5)
    trial = coordinator.trials[0]
    assert trial.config == {**proposed.config, "learning_rate": 0.02}
    assert trial.training["proposed"] == {"learning_rate": proposed.config["learning_rate"]}
    assert trial.training["refining_seconds"] == 1.5
    assert rows[-1] == trial  # durable
    coordinator.refine(0, {"learning_rate": 0.03}, 1.5)  # of a worker that came too late
    assert coordinator.trials[0] == trial
    other = driver([], 1)
    other.ask()
    with pytest.raises(ConfigurationError, match=r"trial 0, refined: learning_rate = 20.0 is not"):
        other.refine(0, {"learning_rate": 20.0}, 1.0)


def test_a_network_alone_is_refined_once() -> None:
    coordinator = driver([], 1)
    proposed = coordinator.ask()
    assert proposed is not None
    first = trained(coordinator, proposed)
    result = first.step()
    values = result["refined"]["values"]
    assert values
    assert result["refined"]["seconds"] > 0
    ray = {"training_iteration": 1, "time_total_s": 2.0}
    tell(coordinator, 0, {**result, **ray})
    trial = coordinator.trials[0]
    assert trial.config == {**proposed.config, **values}
    assert trial.cost == 2.0
    assert "refined" not in first.step()
    again = trained(coordinator, trial)  # after its checkpoint was lost, say
    repeated = again.step()
    assert "refined" not in repeated
    assert repeated["validation_loss"] == result["validation_loss"]
    alone = Training(trial.config, load("iris"), trial.seed, EPOCHS)
    assert alone.step()["validation_loss"] == result["validation_loss"]


def test_refining_is_repeated_to_the_bit_where_nobody_heard_of_it() -> None:
    coordinator = driver([], 1)
    proposed = coordinator.ask()
    assert proposed is not None
    one, other = (trained(coordinator, proposed).step() for _ in range(2))
    assert one["refined"]["values"] == other["refined"]["values"]
    assert one["validation_loss"] == other["validation_loss"]


def worker(populations: Populations, folder: Path, name: str) -> PopulationWorker:
    training = {**populations.coordinator.study.training, "engine": "fused"}
    snapshots = Snapshots(ExperienceStore(folder).filesystem, str(folder / "snapshots"))
    space = populations.coordinator.study.space
    return PopulationWorker(
        name, populations.answer, load("iris"), training, snapshots, NOWHERE, space
    )


def test_members_of_a_population_are_refined_before_they_enter(tmp_path: Path) -> None:
    rows: list[Trial] = []
    coordinator = driver(rows, 3)
    populations = Populations(coordinator, 3, EPOCHS)
    name = populations.next()
    assert name is not None
    training = worker(populations, tmp_path, name)
    training.tick()
    before = list(coordinator.trials)
    assert len(before) == 3
    for trial in before:
        assert trial.training["proposed"]
        assert trial.cost > trial.training["refining_seconds"] > 0
        scores = Training(trial.config, load("iris"), trial.seed, EPOCHS).step()
        assert trial.curve[0].value == pytest.approx(scores["validation_loss"], rel=1e-4)
    # Its worker is lost before anything but that was recorded, and another begins again.
    populations.leave(name)
    assert populations.next() == name
    after = worker(populations, tmp_path, name)
    after.tick()
    for one, other in zip(before, coordinator.trials, strict=True):
        assert other.config == one.config
        assert other.training["proposed"] == one.training["proposed"]
        assert other.curve[0].value == pytest.approx(one.curve[0].value, rel=1e-4)
        assert other.cost > one.training["refining_seconds"]


def test_a_member_that_cannot_be_refined_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refined = Population.refined

    def failing(self: Population, members: Any, space: SearchSpace) -> Any:
        if any(member.number == 1 for member in members):
            raise ConfigurationError("configuration: not this one")
        return refined(self, members, space)

    monkeypatch.setattr(Population, "refined", failing)
    coordinator = driver([], 3)
    populations = Populations(coordinator, 3, EPOCHS)
    name = populations.next()
    assert name is not None
    training = worker(populations, tmp_path, name)
    while training.live:
        training.tick()
    states = [trial.state for trial in coordinator.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE]
    assert coordinator.trials[1].error == "configuration: not this one"


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("population", [1, 2])
def test_a_search_exports_what_it_refined(tmp_path: Path, population: int) -> None:
    result = search(
        SPACE, "iris", trials=2, max_steps=EPOCHS, store=tmp_path, optimizer=RandomSearch(),
        pruner=NoPruner(), resources=Resources(concurrency=1), population=population,
        display=False,
    )  # fmt: skip
    kept = ExperienceStore(tmp_path).trials()
    assert [trial.state for trial in kept] == [TrialState.COMPLETE] * 2
    assert all(trial.training["proposed"] for trial in kept)
    assert result.best is not None
    exported = documents.document(result.study, result.best)
    assert "proposed" not in exported["training"]
    path = tmp_path / "best.toml"
    path.write_text(documents.to_text(exported, "toml"))
    again = retraining.train(documents.read(path), str(path))
    assert again.value == again.recorded
    assert result.best.cost > result.best.training["refining_seconds"]
