"""Tables that are drawn from a formula: tabular ones by scikit-learn, and small images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn import datasets

from metatune.networks.data.tables import Kind, Table

_SEED = 7


def _table(name: str, kind: Kind, make: Callable[..., Any], **options: Any) -> Table:
    inputs, target = make(random_state=_SEED, **options)
    columns = {f"x{index}": values for index, values in enumerate(inputs.T)}
    return Table(name, columns, {"target": target}, kind=kind)


def _gratings() -> Table:
    """Wave patterns of 10 x 10 pixels in one of six orientations, under noise."""
    rng = np.random.default_rng(_SEED)
    orientation = rng.integers(0, 6, size=400)
    angle = orientation * np.pi / 6 + rng.normal(0.0, 0.08, size=400)
    y, x = np.mgrid[0:10, 0:10]
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    waves = rng.uniform(0.8, 1.6, size=(400, 1, 1))
    images = np.sin(along * waves + rng.uniform(0, 2 * np.pi, size=(400, 1, 1)))
    return _image_table("gratings", images + rng.normal(0, 0.6, images.shape), orientation)


def _spots() -> Table:
    """One to four bright spots on 10 x 10 pixels, under noise; to be counted."""
    rng = np.random.default_rng(_SEED)
    count = rng.integers(1, 5, size=400)
    y, x = np.mgrid[0:10, 0:10]
    at = rng.uniform(1, 8, size=(400, 4, 2, 1, 1))
    spots = np.exp(-((x - at[:, :, 0]) ** 2 + (y - at[:, :, 1]) ** 2))
    shown = (np.arange(4) < count[:, None])[:, :, None, None]
    images = (spots * shown).sum(axis=1)
    return _image_table("spots", images + rng.normal(0, 0.1, images.shape), count)


def _image_table(name: str, images: Any, target: Any) -> Table:
    pixels = images[:, None].astype(np.float32)
    return Table(name, {}, {"target": target.astype(np.float64)}, pixels, "classification")


_CLASSES: Kind = "classification"
_NUMBERS: Kind = "regression"

# What each is, in words, and what makes it.
GENERATED: Mapping[str, tuple[str, Callable[[], Table]]] = {
    "moons": (
        "two interleaved half circles",
        lambda: _table("moons", _CLASSES, datasets.make_moons, n_samples=400, noise=0.25),
    ),
    "circles": (
        "two nested circles",
        lambda: _table(
            "circles", _CLASSES, datasets.make_circles, n_samples=300, noise=0.12, factor=0.6
        ),
    ),
    "quantiles": (
        "three shells of a normal distribution in 6 dimensions",
        lambda: _table(
            "quantiles",
            _CLASSES,
            datasets.make_gaussian_quantiles,
            n_samples=500,
            n_features=6,
            n_classes=3,
        ),
    ),
    "clusters": (
        "clusters of four classes, 8 of 20 columns informative",
        lambda: _table(
            "clusters",
            _CLASSES,
            datasets.make_classification,
            n_samples=600,
            n_features=20,
            n_informative=8,
            n_classes=4,
        ),
    ),
    "sparse": (
        "two classes, 5 of 40 columns informative, a tenth of the labels wrong",
        lambda: _table(
            "sparse",
            _CLASSES,
            datasets.make_classification,
            n_samples=250,
            n_features=40,
            n_informative=5,
            flip_y=0.1,
        ),
    ),
    "friedman1": (
        "the first regression problem of Friedman (1991)",
        lambda: _table("friedman1", _NUMBERS, datasets.make_friedman1, n_samples=400, noise=1.0),
    ),
    "friedman2": (
        "the second regression problem of Friedman (1991)",
        lambda: _table("friedman2", _NUMBERS, datasets.make_friedman2, n_samples=300, noise=50.0),
    ),
    "friedman3": (
        "the third regression problem of Friedman (1991)",
        lambda: _table("friedman3", _NUMBERS, datasets.make_friedman3, n_samples=300, noise=0.1),
    ),
    "linear": (
        "a linear regression, 8 of 30 columns informative",
        lambda: _table(
            "linear",
            _NUMBERS,
            datasets.make_regression,
            n_samples=200,
            n_features=30,
            n_informative=8,
            noise=20.0,
        ),
    ),
    "gratings": ("waves in one of six orientations on 10 x 10 pixels", _gratings),
    "spots": ("one to four spots on 10 x 10 pixels, to be counted", _spots),
}
