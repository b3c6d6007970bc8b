"""Trials of a search that begin from the weights of earlier ones."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.tune.result import TRAINING_ITERATION
from small_networks import SMALL
from test_kill import POPULATIONS, Driver, ended

from metatune import Categorical, ExperienceStore, SearchSpace, Study, Trial, search
from metatune.errors import ConfigurationError, StoreError
from metatune.export.documents import document, read, to_text
from metatune.export.python_script import to_script
from metatune.export.retraining import train
from metatune.networks.inheritance import weights_by_place
from metatune.networks.training import Training
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.initial_weights import InitialWeights
from metatune.orchestration.known_weights import KEPT, PARENT
from metatune.orchestration.problem import network_problem
from metatune.orchestration.running import Resources, initial_weights
from metatune.orchestration.trainable import NetworkTrainable, configured
from metatune.trial import TrialState

SHARING = SearchSpace({**SMALL.parameters, "inherit": Categorical(("best", "none"))}, SMALL.when)
EPOCHS = 3


class Driven:
    """A search of sharing trials one after another, without Ray."""

    def __init__(self, store: ExperienceStore, trials: int) -> None:
        self.store, self.problem = store, network_problem(SHARING, "iris", EPOCHS)
        training = self.problem.training
        self.study = Study("s", self.problem.task, self.problem.space, 1, trials, training=training)
        store.put_study(self.study)
        self.weights = initial_weights(store, "s")

    def run(self, most: int, begin_another: bool = False) -> list[Trial]:
        """Go on until `most` trials have ended, and begin another one then; the trials."""
        known = self.store.trials(study="s")
        with GroupCommit(self.store.append) as commits:
            coordinator = Coordinator(
                self.study, known, RandomSearch(), NoPruner(), commits, weights=self.weights
            )
            while sum(trial.state.finished for trial in coordinator.trials) < most:
                trial = coordinator.ask()
                assert trial is not None
                self.train(coordinator, trial)
            if begin_another:
                coordinator.ask()
        return self.store.trials(study="s")

    def train(self, coordinator: Coordinator, trial: Trial) -> None:
        assert self.problem.dataset is not None
        trains = NetworkTrainable.__new__(NetworkTrainable)  # without what Ray sets up
        dataset, training = self.problem.dataset, self.problem.training
        trains.setup(configured(trial), dataset=dataset, training=training, weights=self.weights)
        for step in range(1, EPOCHS + 1):
            result = {**trains.step(), TRAINING_ITERATION: step}
            coordinator.report(trial.number, step, result, 0.1)
        coordinator.keep_weights(trial.number, result[KEPT])
        coordinator.finish(trial.number)


def outcomes(trials: Sequence[Trial]) -> list[Any]:
    return [(t.number, t.config, t.value, t.training.get(PARENT)) for t in trials]


@pytest.fixture
def store(tmp_path: Path) -> ExperienceStore:
    return ExperienceStore(tmp_path / "store")


def test_a_trial_begins_from_the_best_one_that_has_ended_by_then(store: ExperienceStore) -> None:
    trials = Driven(store, 8).run(8)
    assert PARENT not in trials[0].training
    inheriting = [t for t in trials[1:] if t.config["inherit"] == "best"]
    assert inheriting
    assert len(inheriting) < 7
    for trial in trials:
        earlier = trials[: trial.number]
        parent = trial.training.get(PARENT, {}).get("trial")
        if trial in inheriting:
            assert parent == min(earlier, key=lambda t: t.value or 9.0).number
        else:
            assert parent is None
    # Kept are those that children may need, and the last.
    kept = list(Path(store.path("runs")).glob("*/parents/*"))
    assert len(kept) <= 4
    assert store.verify() == []


def test_what_it_began_from_is_kept_and_trains_to_the_same(store: ExperienceStore) -> None:
    driven = Driven(store, 8)
    trials = driven.run(8)
    child = next(trial for trial in trials if PARENT in trial.training)
    parent = trials[child.training[PARENT]["trial"]]
    assert driven.problem.dataset is not None
    alone = Training(
        parent.config,
        driven.problem.dataset,
        parent.seed,
        EPOCHS,
        parent=driven.weights.parent(parent.training),
    )
    alone.fit()
    began = driven.weights.parent(child.training)
    assert began is not None
    for name, tensor in weights_by_place(alone.network).items():
        assert bool((began[name] == tensor).all())
    exported = document(driven.study, child, store=store.uri)
    path = Path(store.path("child.toml"))
    path.write_text(to_text(exported, "toml"))
    assert train(read(path)).value == child.value
    with pytest.raises(ConfigurationError, match="format 'python': training began from weights"):
        to_script(exported, driven.problem.space)
    for model in Path(store.path("models", "weights")).glob("*.json"):
        model.unlink()
    name = child.training[PARENT]["weights"]
    with pytest.raises(StoreError, match=f"initial weights {name} of a training cannot be read"):
        train(read(path))


@pytest.mark.parametrize("ended", [1, 4])
def test_a_killed_search_goes_on_with_the_same_parents(
    store: ExperienceStore, tmp_path: Path, ended: int
) -> None:
    undisturbed = Driven(store, 7).run(7)
    killed = Driven(ExperienceStore(tmp_path / "killed"), 7)
    before = killed.run(ended, begin_another=True)
    assert before[-1].state is TrialState.RUNNING
    # While it is down, a better one cannot become the parent of what has begun.
    again = Driven(ExperienceStore(tmp_path / "killed"), 7).run(7)
    assert outcomes(again) == outcomes(undisturbed)
    assert again[ended].training.get(PARENT) == before[ended].training.get(PARENT)


def test_without_the_weights_of_earlier_trials_it_begins_by_itself(store: ExperienceStore) -> None:
    Driven(store, 9).run(3)
    shutil.rmtree(store.path("runs"))  # as when a search that was complete is extended
    trials = Driven(store, 9).run(9)
    began = [t for t in trials[3:] if t.config["inherit"] == "best"]
    assert {t.training[PARENT]["trial"] >= 3 for t in began if PARENT in t.training} == {True}


def test_of_another_network_nothing_is_inherited() -> None:
    weights = InitialWeights("/nowhere", "/nowhere/parents")
    study = Study("s", network_problem(SMALL, "iris").task, SMALL)
    ended = Trial(
        "s",
        0,
        RandomSearch().suggest(study, [], 1, 0)[0],
        0,
        state=TrialState.COMPLETE,
        value=0.1,
        training={KEPT: "x"},
    )
    assert weights.inherited({"network": "cnn", "inherit": "best"}, study.task, [ended]) == {}
    assert weights.inherited({"network": "mlp"}, study.task, [ended]) == {}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("population", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_search_shares_weights(tmp_path: Path, population: int) -> None:
    options: dict[str, Any] = {"max_steps": EPOCHS, "display": False, "memory": False}
    result = search(
        SHARING,
        "iris",
        trials=8,
        store=tmp_path,
        optimizer=RandomSearch(),
        pruner=NoPruner(),
        population=population,
        resources=Resources(concurrency=1),
        **options,
    )
    assert all(trial.state is TrialState.COMPLETE for trial in result.trials)
    shared = [trial for trial in result.trials if PARENT in trial.training]
    assert shared
    for trial in shared:
        assert trial.training[PARENT]["trial"] < trial.number
    assert not list(tmp_path.glob("runs/*/parents"))  # a complete search leaves none
    if population == 1:
        again = train(document(result.study, shared[-1], store=ExperienceStore(tmp_path).uri))
        assert again.value == shared[-1].value


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("population", ["1", "4"])
def test_a_search_that_is_killed_inherits_the_same(tmp_path: Path, population: str) -> None:
    space, options = tmp_path / "space.toml", [*POPULATIONS, "--no-memory"]
    options[options.index("--population") + 1] = population
    space.write_text(SHARING.to_toml())
    for store, kills in (("undisturbed", 0), ("killed", 2)):
        for kill in range(kills):
            driver, end = Driver(tmp_path / store, space, 1, options), time.monotonic() + 90
            while len(ended(tmp_path / store)) <= 4 * kill and time.monotonic() < end:
                time.sleep(0.1)
            driver.kill()
        Driver(tmp_path / store, space, 1, options).wait()
    trials = [ExperienceStore(tmp_path / store).trials() for store in ("undisturbed", "killed")]
    assert any(PARENT in trial.training for trial in trials[0])
    assert outcomes(trials[1]) == outcomes(trials[0])


@pytest.mark.slow
def test_on_s3_trials_inherit_as_in_a_folder(store: ExperienceStore, s3_uri: str) -> None:
    folder = Driven(store, 7).run(7)
    remote = ExperienceStore(s3_uri)
    bucket = Driven(remote, 7).run(7)
    assert any(PARENT in trial.training for trial in bucket)
    assert outcomes(bucket) == outcomes(folder)
    exported = document(Driven(remote, 7).study, bucket[-1], store=remote.uri)
    assert train(exported).value == bucket[-1].value
    assert remote.verify() == []
