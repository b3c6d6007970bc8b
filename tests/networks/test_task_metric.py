"""Tasks that are measured by another score than the validation loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from configurations import MLP
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from metatune.errors import TaskError
from metatune.networks.data.loading import Dataset, load
from metatune.networks.data.metrics import macro_scores, precision_at_recall, recall_at_precision
from metatune.networks.data.task_metric import class_score, direction_of, task_metric
from metatune.networks.population import Member, Population
from metatune.networks.training import Training, epoch_scores
from metatune.space import Config

CONFIG: Config = {
    **MLP, "schedule": "constant", "weight_decay": 0.0, "gradient_clipping": False,
    "loss": "cross_entropy", "label_smoothing": 0.0, "optimizer": "adam", "beta1": 0.9,
    "beta2": 0.999, "learning_rate": 3e-3, "batch_size": 64,
}  # fmt: skip
GIVEN = ("accuracy", "f1", "precision", "recall", "recall_at_precision:0.95",
         "precision_at_recall:0.9:benign")  # fmt: skip


def _rows(seed: int, classes: int, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # On a coarse grid, so that rows tie.
    return rng.integers(-3, 4, (rows, classes)) / 2.0, rng.integers(0, classes, rows)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 4), least=st.floats(0.01, 1.0))
@example(seed=59684, classes=4, least=0.5)  # shares that are equal but for rounding
def test_operating_points_are_those_of_scikit_learn(seed: int, classes: int, least: float) -> None:
    logits, right = _rows(seed, classes)
    positive = seed % classes
    if not (right == positive).any():
        return
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    precision, recall, _ = peer.precision_recall_curve(
        right == positive, np.round(shares[:, positive], 12)
    )
    precision, recall = precision[:-1], recall[:-1]  # the last is a point of no threshold
    of_recall = max([r for p, r in zip(precision, recall, strict=True) if p >= least], default=0.0)
    of_precision = max([p for p, r in zip(precision, recall, strict=True) if r >= least])
    assert recall_at_precision(logits, right, positive, least) == pytest.approx(of_recall)
    assert precision_at_recall(logits, right, positive, least) == pytest.approx(of_precision)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5))
def test_macro_scores_are_those_of_scikit_learn(seed: int, classes: int) -> None:
    logits, right = _rows(seed, classes, 12)
    expected = peer.precision_recall_fscore_support(
        right, logits.argmax(axis=1), average="macro", zero_division=0.0
    )
    found = macro_scores(logits, right)
    assert list(found.values()) == pytest.approx(expected[:3])
    labels = tuple("abcde"[:classes])
    assert class_score("validation_f1", labels, logits, right) == found["f1"]


def test_what_is_not_finite_has_no_score() -> None:
    logits, right = _rows(0, 2)
    logits[3, 1] = np.nan
    for metric in ("validation_f1", "validation_recall_at_precision:0.5"):
        assert np.isnan(class_score(metric, ("a", "b"), logits, right))


@pytest.mark.parametrize(
    ("given_name", "data", "said"),
    [
        ("auc", "breast_cancer", "is measured by one of loss, accuracy"),
        ("f1:0.5", "breast_cancer", "is measured by one of"),
        ("f1", "diabetes", "a regression is measured by one of loss, rmse"),
        ("rmse", "iris", "a classification is measured by"),
        ("recall_at_precision", "breast_cancer", r"needs a number in \(0, 1\]"),
        ("recall_at_precision:1.5", "breast_cancer", r"needs a number in \(0, 1\]"),
        ("recall_at_precision:nan", "breast_cancer", r"needs a number in \(0, 1\]"),
        ("recall_at_precision:0.9:cat", "breast_cancer", "'cat' is none of the classes"),
        ("precision_at_recall:0.9", "iris", "of 3 classes name one, as in .*:0.9:setosa"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_in_a_line(
    given_name: str, data: str, said: str
) -> None:
    with pytest.raises(TaskError, match=said) as caught:
        load(data, metric=given_name)
    assert "\n" not in str(caught.value)
    assert repr(given_name) in str(caught.value)


def test_a_metric_has_one_name_however_it_is_given() -> None:
    labels = ("no", "yes")
    for given_name in ("f1", "validation_f1"):
        assert task_metric(given_name, "classification", labels, "x") == "validation_f1"
    name = task_metric("recall_at_precision:.90", "classification", labels, "x")
    assert name == "validation_recall_at_precision:0.9"
    assert task_metric(name, "classification", labels, "x") == name
    assert task_metric(None, "regression", (), "x") == "validation_loss"
    assert direction_of("validation_rmse") == "minimize"
    assert direction_of(name) == "maximize"


@pytest.fixture(scope="module")
def cancer() -> Dataset:
    return load("breast_cancer")


@pytest.mark.parametrize("given_name", GIVEN)
def test_the_best_epoch_is_the_best_by_the_metric_of_the_task(
    cancer: Dataset, given_name: str
) -> None:
    name = task_metric(given_name, cancer.kind, cancer.labels, cancer.name)
    asked = replace(cancer, metric=name)
    task = asked.task()
    assert (task.metric, task.direction, task.measure) == (name, "maximize", "best")
    training, plain = Training(CONFIG, asked, epochs=8), Training(CONFIG, cancer, epochs=8)
    scores, others = training.fit(), plain.fit()
    assert [s["validation_loss"] for s in scores] == [s["validation_loss"] for s in others]
    assert all(set(s) - set(o) <= {name} for s, o in zip(scores, others, strict=True))
    values = [s[name] for s in scores]
    assert training.best_epoch == 1 + values.index(max(values))
    predicted = training._predict(cancer.validation.inputs, training.best_weights)
    assert epoch_scores(1, 0.0, predicted, asked)[name] == max(values)
    test = training.test_scores()
    assert 0.0 < test[f"test_{name.removeprefix('validation_')}"] <= 1.0
    assert set(plain.test_scores()) <= set(test)


def test_populations_report_it_and_a_diverged_epoch_has_none(cancer: Dataset) -> None:
    asked = replace(cancer, metric="validation_accuracy")
    wild = {**CONFIG, "learning_rate": 1e30}
    population = Population(asked, epochs=2, at_once=2)
    population.enter(Member(0, CONFIG, 0))
    population.enter(Member(1, wild, 0))
    scores = population.step()
    scores = population.step()
    assert 0.5 < scores[0]["validation_accuracy"] <= 1.0
    assert np.isnan(scores[1]["validation_accuracy"])
    alone = Training(wild, asked, epochs=2)
    alone.fit()
    assert alone.best_epoch == 0
    assert not alone.best_weights


def test_a_regression_may_be_measured_in_its_own_unit() -> None:
    diabetes = load("diabetes", metric="rmse")
    config = {k: v for k, v in CONFIG.items() if k != "label_smoothing"} | {"loss": "mse"}
    training = Training(config, diabetes, epochs=3)
    values = [s["validation_rmse"] for s in training.fit()]
    assert training.best_epoch == 1 + values.index(min(values))
    assert diabetes.task().direction == "minimize"
