"""Searches on documents and signals, on a real Ray, by other metrics than the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray import tune

from metatune import ExperienceStore, SearchSpace, Task, search, suggest
from metatune.errors import InputError, SpaceError, StudyError
from metatune.export.documents import document
from metatune.export.retraining import train
from metatune.networks.data.reading import BUILT_IN
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.problem import network_problem
from metatune.orchestration.resources import Resources
from metatune.trial import best_trial

ONE = Resources(concurrency=1)


def report_one(config: object) -> None:
    """A trainable of the user's."""
    tune.report({"loss": 1.0})


def _mails(folder: Path) -> str:
    lines = ["mail,kind"]
    for n in range(80):
        said = f"win free money number {n}" if n % 3 == 0 else f"see you at lunch on day {n}"
        lines.append(f"{said},{'spam' if n % 3 == 0 else 'ham'}")
    (folder / "mails.csv").write_text("\n".join(lines))
    return str(folder / "mails.csv")


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("kind", [pytest.param("text", marks=pytest.mark.slow), "signal"])
def test_other_kinds_of_tasks_are_searched_and_trained_again(tmp_path: Path, kind: str) -> None:
    task, target, metric, size = "digits_sequence", None, "f1", 4
    if kind == "text":
        task, target, metric, size = _mails(tmp_path), "kind", "recall_at_precision:0.9", 1
    result = search(
        kind, task, target=target, metric=metric, trials=4, max_steps=2, population=size,
        store=tmp_path / "store", resources=ONE, optimizer=RandomSearch(), display=False,
    )  # fmt: skip
    assert result.complete
    study = ExperienceStore(tmp_path / "store").studies()[0]
    assert (study.task.metric, study.task.direction) == (f"validation_{metric}", "maximize")
    best = best_trial(study.task, result.trials)
    assert best is not None
    others = [t.value for t in result.trials if t.state is best.state and t.value is not None]
    assert best.value == max(others)
    again = train(document(study, best))
    assert again.verdict == "the same"
    assert f"test_{metric}" in again.test
    with pytest.raises(StudyError, match="metric"):
        search(kind, task, target=target, trials=5, store=tmp_path / "store", study=study.name)


def test_a_metric_is_for_built_in_networks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metric = 'f1' is for built-in networks"):
        search("mlp", Task("own"), report_one, metric="f1", store=tmp_path)
    proposed = suggest("mlp", "iris", count=1, metric="f1", store=tmp_path, starter=False)
    assert proposed[0].config["network"] == "mlp"


@pytest.mark.parametrize(
    ("space", "task", "fitting"),
    [
        ("signal", "iris", "mlp, transformer, logistic"),
        ("logistic", "diabetes", "mlp, transformer"),
        pytest.param("mlp", "docstrings", "bag_of_embeddings, transformer", marks=pytest.mark.slow),
        ("cnn", "digits_sequence", "mlp, transformer, logistic, cnn1d, gru"),
        ("signal", "digits", "mlp, cnn, resnet, transformer, logistic"),
    ],
)
def test_a_space_that_does_not_fit_the_data_is_told_what_would(
    space: str, task: str, fitting: str
) -> None:
    with pytest.raises(SpaceError, match=rf"none is for '{task}'.*these are: {fitting}$"):
        network_problem(space, task)


def test_a_file_beside_a_built_in_name_is_not_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iris").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "iris" in BUILT_IN
    assert network_problem("mlp", "iris").training["data"] == "iris"
    assert isinstance(network_problem("text", "iris").space, SearchSpace)
