import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from metatune.networks.data import metrics

CLASSES = np.array([0, 0, 1, 1, 1])
LOGITS = np.log(np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]))


def test_scores_of_two_classes_are_macro_averages() -> None:
    scores = metrics.classification_scores(LOGITS, CLASSES)
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores["recall"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores["f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    expected = -np.log([0.9, 0.4, 0.8, 0.7, 0.4]).mean()
    assert scores["log_loss"] == pytest.approx(expected)


def test_classes_that_appear_nowhere_do_not_count() -> None:
    logits = np.array([[0.0, 9.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0]])
    scores = metrics.classification_scores(logits, np.array([1, 0, 0]))
    assert scores["precision"] == pytest.approx((1 + 1 + 0) / 3)  # class 2 is predicted wrongly
    assert scores["recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)


@settings(deadline=None)  # the first call may be slow
@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_log_loss_is_that_of_scikit_learn(classes: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, right = rng.normal(size=(rows, classes)), rng.integers(classes, size=rows)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = sklearn_metrics.log_loss(right, probabilities, labels=range(classes))
    assert metrics.log_loss(logits, right) == pytest.approx(expected)


def test_log_loss_is_clipped_and_stays_nan() -> None:
    assert metrics.log_loss(np.array([[1e6, 0.0]]), np.array([1])) == pytest.approx(
        -math.log(1e-15)
    )
    assert math.isnan(metrics.log_loss(np.array([[math.nan, 0.0]]), np.array([1])))
    assert math.isnan(metrics.log_loss(np.array([[math.inf, 0.0]]), np.array([0])))


def test_regression_scores() -> None:
    targets = np.array([[0.0, 10.0], [2.0, 30.0]])
    predicted = np.array([[1.0, 10.0], [1.0, 20.0]])
    scores = metrics.regression_scores(predicted, targets)
    assert scores["rmse"] == pytest.approx((1.0 + math.sqrt(50.0)) / 2)
    assert scores["r2"] == pytest.approx((0.0 + 0.5) / 2)
    assert metrics.mean_squared_error(predicted, targets) == pytest.approx((1 + 0 + 1 + 100) / 4)


def test_scores_without_meaning_are_nan() -> None:
    one = np.ones((1, 1))
    assert math.isnan(metrics.regression_scores(one, one)["r2"])
    assert all(map(math.isnan, metrics.regression_scores(one * math.nan, one).values()))
    logits = np.full((2, 3), math.nan)
    assert all(map(math.isnan, metrics.classification_scores(logits, np.array([0, 1])).values()))
