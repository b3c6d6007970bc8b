"""Metafeatures: a data set described in numbers, so that tasks can be compared.

All but the number of rows are taken from the training rows, and rounded to six digits, so that
they do not depend on threads. The two landmarks are what simple learners reach on at most 500 of
these rows: the error rate, or the mean squared error of standardised targets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metatune.networks.data.tables import Kind

Array = npt.NDArray[np.float64]

_SAMPLE = 500


def metafeatures(
    kind: Kind, rows: int, inputs: npt.NDArray[np.float32], targets: npt.NDArray[np.generic]
) -> dict[str, float]:
    """Metafeatures of training `inputs` [n, features] and `targets` ([n] class numbers, or
    [n, outputs] standardised); `rows` counts all splits."""
    count, features = inputs.shape
    step = -(-count // _SAMPLE)
    x = inputs[::step].astype(np.float64)
    classification = kind == "classification"
    shares = np.bincount(targets) / count if classification else np.ones(1)
    shares = shares[shares > 0]
    _, classes = np.unique(targets, return_inverse=True)  # one may be in the test rows alone
    y = np.eye(len(shares))[classes[::step]] if classification else targets[::step].astype(float)
    skewness = np.abs(_skewness(x))
    found = {
        "rows": float(rows),
        "features": float(features),
        "rows_per_feature": rows / features,
        "is_classification": float(classification),
        "outputs": float(y.shape[1]),
        "class_entropy": float((shares * np.log(1.0 / shares)).sum()),
        "majority_share": float(shares.max()) if classification else 0.0,
        "binary_features": float(_is_binary(x).mean()),
        "skewness": float(skewness.mean()),
        "skewness_spread": float(skewness.std()),
        "target_skewness": 0.0 if classification else float(np.abs(_skewness(y)).mean()),
        "landmark_neighbor": _loss(_nearest(x, y), y, classification),
        "landmark_linear": _loss(_ridge(x, y), y, classification),
    }
    return {name: float(f"{value:.6g}") for name, value in found.items()}


def _is_binary(x: Array) -> npt.NDArray[np.bool_]:
    binary: npt.NDArray[np.bool_] = ((x == x.min(axis=0)) | (x == x.max(axis=0))).all(axis=0)
    return binary


def _skewness(x: Array) -> Array:
    centered = x - x.mean(axis=0)
    scale = centered.std(axis=0)
    scale[scale == 0.0] = 1.0
    skewness: Array = ((centered / scale) ** 3).mean(axis=0)
    return skewness


def _loss(predicted: Array, y: Array, classification: bool) -> float:
    if classification:
        return float((predicted.argmax(axis=1) != y.argmax(axis=1)).mean())
    return float(((predicted - y) ** 2).mean())


def _nearest(x: Array, y: Array) -> Array:
    """The target of each row's nearest other row."""
    squares = (x**2).sum(axis=1)
    distances = squares[:, None] - 2.0 * x @ x.T + squares[None, :]
    distances = distances.round(6)  # ties must not hang on rounding
    np.fill_diagonal(distances, np.inf)
    nearest: Array = y[distances.argmin(axis=1)]
    return nearest


def _ridge(x: Array, y: Array) -> Array:
    """Leave-one-out predictions of ridge regression, penalty 1 (Hastie et al. 2009, eq. 7.64)."""
    kernel = x @ x.T + 1.0  # + 1: an intercept
    hat = np.linalg.solve(kernel + np.eye(len(x)), kernel).T
    own = np.diag(hat)[:, None]
    predicted: Array = (hat @ y - own * y) / (1.0 - own)
    return predicted
