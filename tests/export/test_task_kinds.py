"""Exports of documents, signals, folders of images, selected features and other metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cifar_files import cifar_10
from small_studies import CNN, MLP, space_of, trained
from test_python_script import run

from metatune.export.documents import document
from metatune.export.python_script import to_script
from metatune.export.retraining import train
from metatune.export.seeds import choose
from metatune.space import Config

Exported = tuple[dict[str, Any], str]  # a document and a script
UPDATE: Config = {k: v for k, v in MLP.items() if k not in ("activation", "normalization", "depth")}
GRU: Config = {**UPDATE, "network": "gru", "depth": 1, "width": 4, "window": 16, "state": "last"}
BAG: Config = {
    **UPDATE, "network": "bag_of_embeddings", "depth": 2, "width": 4, "activation": "relu",
}  # fmt: skip
LOGISTIC: Config = {
    **{k: v for k, v in UPDATE.items() if k not in ("dropout", "width")},
    "network": "logistic", "feature_share": 0.5,
}  # fmt: skip
CASES: dict[str, tuple[Config, str, str | None]] = {
    "gru": (GRU, "digits_sequence", "f1"),
    "bag": (BAG, "docstrings", None),
    "folder": (CNN, "cifar", "accuracy"),
    "logistic": (LOGISTIC, "breast_cancer", "recall_at_precision:0.9:malignant"),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """Of each case the document and the script."""
    folder = tmp_path_factory.mktemp("kinds") / "cifar"
    cifar_10(folder, 20)
    made = {}
    for name, (config, data, metric) in CASES.items():
        path = str(folder) if data == "cifar" else data
        study, (trial,) = trained([config], path, metric=metric)
        made[name] = document(study, trial), to_script(document(study, trial), space_of([config]))
    return made


@pytest.mark.parametrize("case", CASES)
def test_training_again_gives_what_was_recorded(
    exported: dict[str, Exported],
    case: str,
) -> None:
    again = train(exported[case][0])
    assert again.verdict == "the same"
    metric = CASES[case][2]
    assert metric is None or f"test_{metric}" in again.test


def test_scripts_give_what_was_recorded(
    exported: dict[str, Exported],
    tmp_path: Path,
) -> None:
    scripts = []
    for name, (_, text) in exported.items():
        scripts.append(tmp_path / f"{name}.py")
        scripts[-1].write_text(text)
    parts = run(scripts).split("## ")[1:]
    for (one, _), part in zip(exported.values(), parts, strict=True):
        value = one["result"]["value"]
        line = f"{one['task']['metric']} = {value!r} (recorded {value!r})"
        assert part.splitlines()[1] == line


def test_scripts_hold_only_what_they_reach(
    exported: dict[str, Exported],
) -> None:
    for word, cases in {
        "def gru(": {"gru"},
        "def bag_of_embeddings(": {"bag"},
        "def docstrings(": {"bag"},
        "def read_folder(": {"folder"},
        "def recall_at_precision(": {"logistic"},
        "def precision_at_recall(": set(),
    }.items():
        assert {name for name, (_, text) in exported.items() if word in text} == cases, word


def test_the_best_of_several_seeds_is_the_highest_where_the_metric_says_so() -> None:
    good = {**MLP, "learning_rate": 0.03, "dropout": 0.0}
    bad = {**MLP, "learning_rate": 1e-5}
    study, trials = trained([bad, good], "iris", metric="f1")
    choice = choose(study, trials, seeds=2)
    assert choice.best.trial.number == 1
    assert choice.best.mean > choice.reruns[1].mean
    assert choice.sure > 0.5
