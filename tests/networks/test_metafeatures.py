import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from metatune.networks.data.metafeatures import metafeatures

ROWS = 60


def _inputs() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)


def test_landmarks_of_a_classification_are_leave_one_out_error_rates() -> None:
    x = _inputs()
    classes = (x[:, 0] + 0.5 * x[:, 1] ** 2 > 0.3).astype(np.int64) + (x[:, 2] > 0.8)
    found = metafeatures("classification", 100, x, classes)
    neighbor = cross_val_predict(KNeighborsClassifier(1), x, classes, cv=LeaveOneOut())
    assert found["landmark_neighbor"] == pytest.approx((neighbor != classes).mean(), abs=1e-5)
    assert 0.05 < found["landmark_linear"] < 0.6
    shares = np.bincount(classes) / ROWS
    assert found["class_entropy"] == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-5)
    assert found["majority_share"] == pytest.approx(shares.max(), abs=1e-5)
    assert (found["rows"], found["features"], found["outputs"]) == (100.0, 4.0, 3.0)


def test_landmarks_of_a_regression_are_leave_one_out_squared_errors() -> None:
    x = _inputs()
    y = (x[:, :2] @ np.array([[1.0, 0.2], [0.0, -1.0]]) + x[:, 2:] ** 2).astype(np.float32)
    found = metafeatures("regression", 100, x, y)
    neighbor = cross_val_predict(KNeighborsRegressor(1), x, y, cv=LeaveOneOut())
    assert found["landmark_neighbor"] == pytest.approx(((neighbor - y) ** 2).mean(), rel=1e-4)
    with_intercept = np.hstack([x, np.ones((ROWS, 1))])
    ridge = cross_val_predict(Ridge(1.0, fit_intercept=False), with_intercept, y, cv=LeaveOneOut())
    assert found["landmark_linear"] == pytest.approx(((ridge - y) ** 2).mean(), rel=1e-4)
    assert found["class_entropy"] == found["majority_share"] == found["is_classification"] == 0.0


def test_skewness_and_binary_features() -> None:
    x = _inputs()
    x[:, 0] = x[:, 0] > 1.0
    found = metafeatures("regression", ROWS, x, x[:, 1:2])
    assert found["binary_features"] == 0.25
    centered = x - x.mean(axis=0)
    skewness = np.abs((centered**3).mean(axis=0) / x.std(axis=0) ** 3)
    assert found["skewness"] == pytest.approx(skewness.mean(), rel=1e-4)
    assert found["target_skewness"] == pytest.approx(skewness[1], rel=1e-3)


def test_many_rows_are_sampled() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3)).astype(np.float32)
    found = metafeatures("classification", 30_000, x, rng.integers(2, size=20_000))
    assert 0.4 < found["landmark_neighbor"] < 0.6
    assert found["rows_per_feature"] == 10_000.0
