"""The experience that comes with metatune is what its making says, and whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from metatune import ExperienceStore, Trial
from metatune.experience.starter import (
    FOLDER,
    PREFIX,
    source_of,
    starter_experience,
    starter_sample,
    starter_store,
)
from metatune.networks.data.loading import load
from metatune.networks.data.reading import SCIKIT_LEARN
from metatune.optimizers.past_surrogate import MOST_TRIALS
from metatune.optimizers.transfer_model import fit
from metatune.orchestration.learning import FIT_SEED
from metatune.orchestration.prefitted import prefitted
from metatune.orchestration.problem import DEFAULT_EPOCHS, network_problem
from metatune.space import SearchSpace
from metatune.starter.__main__ import main
from metatune.starter.making import TRIALS, name_of, rounded, searched
from metatune.starter.tasks import TASKS, StarterTask
from metatune.trial import TrialState

PLANS = [(space, task) for space, tasks in TASKS.items() for task in tasks]
STUDIES = {study.name: study for study in starter_store().studies()}


def planned(space: str, name: str) -> StarterTask:
    (task,) = (task for task in TASKS[space] if task.name == name)
    return task


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return starter_store().trials()


def test_there_are_enough_tasks_of_enough_sources() -> None:
    assert len({task.name for _, task in PLANS}) >= 30
    assert {task.source for _, task in PLANS} > set(SCIKIT_LEARN)
    derived = [task for _, task in PLANS if not task.is_generated]
    assert len(derived) > len(PLANS) / 2
    kinds = Counter(task.dataset().kind for task in TASKS["mlp"])
    assert kinds["regression"] >= 10


def test_every_planned_study_is_there_and_says_what_it_is() -> None:
    assert set(STUDIES) == {name_of(space, task) for space, task in PLANS}
    for space, task in PLANS:
        study, dataset = STUDIES[name_of(space, task)], task.dataset()
        assert study.name.startswith(PREFIX)
        assert study.task.name == f"{task.source}/{task.part}"
        mark = "generated: " if task.is_generated else f"derived from {task.source}: "
        assert study.task.description == mark + task.what
        assert source_of(study) == task.source
        assert study.task.data_hash == dataset.data_hash
        assert study.task.metafeatures == pytest.approx(dataset.task().metafeatures, rel=1e-4)


def test_the_whole_sets_are_those_that_a_user_searches() -> None:
    for source in SCIKIT_LEARN:
        name = name_of("mlp", planned("mlp", f"{source}/all"))
        assert STUDIES[name].task.data_hash == load(source).data_hash
        assert STUDIES[name].space == network_problem("mlp", source).space


def test_trials_are_as_a_search_records_them(trials: list[Trial]) -> None:
    assert Counter(t.study for t in trials) == {
        name_of(space, task): TRIALS[space] for space, task in PLANS
    }
    by_study: dict[str, list[Trial]] = {}
    for trial in trials:
        by_study.setdefault(trial.study, []).append(trial)
    for name, of_study in by_study.items():
        study = STUDIES[name]
        assert sorted(t.finished_index or 0 for t in of_study) == list(range(len(of_study)))
        for trial in of_study:
            study.space.check(trial.config)
            assert trial.training == study.training
            assert trial.checkpoint is None
            if trial.state is TrialState.COMPLETE:
                assert [r.step for r in trial.curve] == list(range(1, DEFAULT_EPOCHS + 1))
                assert trial.value == min(r.value for r in trial.curve)
                assert trial.cost == trial.curve[-1].seconds > 0
        assert sum(t.state is TrialState.COMPLETE for t in of_study) > 0.8 * len(of_study)


def test_good_and_bad_regions_are_known(trials: list[Trial]) -> None:
    kinds = Counter(t.suggestion.optimizer for t in trials)
    assert kinds["random"] >= kinds["tpe"] > 0.4 * len(trials)
    values = {
        kind: [t.value for t in trials if t.suggestion.optimizer == kind and t.value is not None]
        for kind in kinds
    }
    assert np.median(values["tpe"]) < np.median(values["random"])


def test_it_is_whole_and_small_and_names_no_machine() -> None:
    assert starter_store().verify() == []
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 2 << 20
    records = [path.read_text() for path in files if path.suffix == ".json"]
    errors = [trial.error or "" for trial in starter_store().trials(states=[TrialState.FAILED])]
    for text in records + errors:
        for word in (str(Path.home()), str(Path.cwd()), os.uname().nodename, "/tmp", "/root"):
            assert word not in text


def test_it_is_for_spaces_of_the_same_networks_alone() -> None:
    spaces = {name: SearchSpace.load(name) for name in ("mlp", "cnn", "resnet", "transformer")}
    for name, space in spaces.items():
        expected = {name_of(name, task): TRIALS[name] for task in TASKS.get(name, ())}
        assert starter_experience(space) == expected
    assert starter_experience(SearchSpace({"depth": spaces["mlp"].parameters["depth"]})) == {}


def test_sources_take_turns() -> None:
    space = network_problem("mlp", "iris").space
    past = starter_sample(starter_store(), starter_experience(space), space, 10)
    sources = [task.task.name.partition("/")[0] for task in past]
    count = len(set(sources))
    assert len(set(sources[:count])) == count
    assert all(len(task.trials) == 10 for task in past)


def test_a_study_is_made_again_as_it_is() -> None:
    study, again = searched("mlp", planned("mlp", "linnerud/weight"), count=3)
    shipped = starter_store().trials(study=study.name)[:3]
    assert [t.config for t in again] == [t.config for t in shipped]
    assert [t.seed for t in again] == [t.seed for t in shipped]
    for one, other in zip(again, shipped, strict=True):
        # Rounding differs between machines, and training amplifies it.
        assert one.curve[0].value == pytest.approx(other.curve[0].value, rel=1e-3)


def test_rounding_keeps_six_digits() -> None:
    for number in (0.123456789, -12345.6789, 1e-30, 0.0):
        assert rounded(number) == pytest.approx(number, rel=1e-6)
        assert rounded(rounded(number)) == rounded(number)
    assert np.isnan(rounded(float("nan")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "task"), [("mlp", "iris"), ("mlp", "diabetes"), ("cnn", "digits")]
)
def test_the_model_that_comes_along_is_the_one_that_would_be_fitted(space: str, task: str) -> None:
    searched_space = network_problem(space, task).space
    known = starter_experience(searched_space)
    past = starter_sample(starter_store(), known, searched_space, MOST_TRIALS)
    shipped = prefitted(starter_store(), searched_space, past)
    fitted = fit(past, searched_space, FIT_SEED)
    assert shipped is not None
    assert fitted is not None
    rng = np.random.default_rng(0)
    points = rng.random((50, shipped.features.count))
    assert shipped.values(points) == pytest.approx(fitted.values(points), abs=0.05)
    assert shipped.prior.scales == pytest.approx(fitted.prior.scales, rel=0.05)


@pytest.mark.slow
def test_a_making_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(FOLDER, folder)
    name = name_of("mlp", planned("mlp", "linnerud/waist"))
    (folder / "studies" / f"{name}.json").unlink()
    shutil.rmtree(folder / "trials" / "linnerud%2Fwaist")
    shutil.rmtree(folder / "models")
    command = [sys.executable, "-m", "metatune.starter", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "minutes of processor time" in done.stdout
    assert done.stderr.splitlines() == [f"{len(PLANS)}/{len(PLANS)} {name}"]
    made, shipped = ExperienceStore(folder), starter_store()
    assert [t.config for t in made.trials(study=name)[:40]] == [
        t.config for t in shipped.trials(study=name)[:40]
    ]
    assert made.cutoff() == shipped.cutoff()
    assert made.verify() == []


def test_a_bad_folder_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["starter", str(tmp_path / "file" / "store")])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("error: store ")
    assert said.count("\n") == 1
