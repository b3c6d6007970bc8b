"""The surrogates to choose from: what each learns, and how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from metatune.optimizers.surrogate import Surrogate
from metatune.optimizers.surrogate_forest import ForestSurrogate
from metatune.optimizers.surrogate_gp import GaussianProcessSurrogate
from metatune.optimizers.surrogate_network import NetworkSurrogate
from metatune.optimizers.surrogate_svr import FittedVectors, SupportVectorSurrogate
from metatune.parameters import Vectors

SURROGATES: dict[str, Surrogate] = {
    "gp": GaussianProcessSurrogate(),
    "forest": ForestSurrogate(),
    "svr": SupportVectorSurrogate(),
    "network": NetworkSurrogate(),
}
QUICK: dict[str, Surrogate] = {
    "gp": GaussianProcessSurrogate(),
    "forest": ForestSurrogate(trees=3),
    "svr": SupportVectorSurrogate(bags=2),
    "network": NetworkSurrogate(members=2, steps=5),
}

every_surrogate = pytest.mark.parametrize("name", SURROGATES)


def bowl(points: Vectors) -> Vectors:
    """Lowest at .3 of what exists; the last of three parameters may not."""
    squares: Vectors = np.nansum((points - 0.3) ** 2 * [4.0, 1.0, 0.5], axis=1)
    return 7.0 + 50.0 * squares


def drawn(count: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    points = rng.random((count, 3))
    points[rng.random(count) < 0.3, 2] = np.nan
    return points


@every_surrogate
def test_it_orders_what_it_has_not_seen_and_knows_how_far_off_it_is(name: str) -> None:
    seen, unseen = drawn(60, 0), drawn(200, 1)
    mean, deviation = SURROGATES[name].fit(seen, bowl(seen), 3).predict(unseen)
    assert spearmanr(mean, bowl(unseen)).statistic > 0.9
    wrong = np.abs(mean - bowl(unseen))
    assert np.mean(wrong < 2.0 * deviation) > 0.85
    assert deviation.mean() < bowl(unseen).std()


@pytest.mark.parametrize("name", ["gp", "svr", "network"])  # trees do not tell how far is far
def test_it_is_surer_of_what_was_measured_than_of_what_is_far_from_it(name: str) -> None:
    rng = np.random.default_rng(0)
    seen = 0.3 * rng.random((40, 3))
    fitted = SURROGATES[name].fit(seen, bowl(seen), 0)
    near, far = fitted.predict(seen)[1], fitted.predict(0.7 + 0.3 * rng.random((40, 3)))[1]
    assert near.mean() < far.mean()


@every_surrogate
@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(2, 9),
    columns=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    shift=st.floats(-1e3, 1e3),
    scale=st.floats(0.1, 1e3),
)
def test_units_do_not_matter_and_the_seed_decides(
    name: str, rows: int, columns: int, seed: int, shift: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    points, asked = rng.random((rows, columns)), rng.random((5, columns))
    points[rng.random((rows, columns)) < 0.3] = np.nan
    labels = rng.standard_normal(rows)
    fitted = QUICK[name].fit(points, labels, seed)
    if isinstance(fitted, FittedVectors):  # with all vectors at their bound a constant is as good
        assume(all((abs(one.dual_coef_) < one.C).any() for one in fitted.machines))
    mean, deviation = fitted.predict(asked)
    again = QUICK[name].fit(points, labels, seed).predict(asked)
    assert np.array_equal(mean, again[0])
    assert np.array_equal(deviation, again[1])
    assert (deviation > 0.0).all()
    moved, wider = QUICK[name].fit(points, shift + scale * labels, seed).predict(asked)
    # Trees split where it is best, and of equally good places rounding may choose another.
    if name != "forest":
        np.testing.assert_allclose(moved, shift + scale * mean, rtol=1e-3, atol=1e-3 * scale)
        np.testing.assert_allclose(wider, scale * deviation, rtol=1e-2)


@every_surrogate
def test_where_labels_scatter_at_one_point_it_says_so(name: str) -> None:
    labels = np.random.default_rng(0).standard_normal(30)
    here = np.full((30, 2), 0.4)
    mean, deviation = SURROGATES[name].fit(here, labels, 0).predict(here[:1])
    assert abs(float(mean[0]) - labels.mean()) < 0.5 * labels.std()
    assert 0.6 * labels.std() < float(deviation[0]) < 1.6 * labels.std()


@every_surrogate
def test_equal_labels_are_expected_everywhere(name: str) -> None:
    mean, deviation = SURROGATES[name].fit(drawn(8, 0), np.full(8, 2.5), 0).predict(drawn(9, 1))
    np.testing.assert_allclose(mean, 2.5, atol=0.05)
    assert np.isfinite(deviation).all()


@every_surrogate
def test_its_words_say_its_settings(name: str) -> None:
    assert str(SURROGATES[name]).startswith(name)
    assert str(QUICK[name]) != str(SURROGATES[name]) or name == "gp"
