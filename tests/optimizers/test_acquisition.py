from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import SPACES
from scipy.integrate import quad
from scipy.stats import norm
from strategies import spaces

from metatune.optimizers.acquisition import expected_improvement, near, spread_out
from metatune.parameters import Value
from metatune.space import Config, SearchSpace

few = settings(max_examples=30, deadline=None)


@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(-3, 3))
@few
def test_expected_improvement_is_the_integral(mean: float, deviation: float, best: float) -> None:
    found = expected_improvement(np.asarray([mean]), np.asarray([deviation]), best)[0]
    lowest, highest = mean - 9.0 * deviation, min(best, mean + 9.0 * deviation)
    expected = 0.0
    if lowest < highest:
        expected, _ = quad(lambda y: (best - y) * norm.pdf(y, mean, deviation), lowest, highest)
    assert found == pytest.approx(expected, abs=1e-6)


def test_improvement_that_is_certain_and_that_is_out_of_reach() -> None:
    mean, deviation = np.asarray([-5.0, 5.0, 1e6]), np.full(3, 1e-3)
    assert expected_improvement(mean, deviation, 1.0) == pytest.approx([6.0, 0.0, 0.0])
    surer, less_sure = expected_improvement(np.asarray([2.0, 2.0]), np.asarray([0.1, 1.0]), 1.0)
    assert less_sure > surer >= 0.0


def valid(space: SearchSpace, configs: list[Config], given: dict[str, Value]) -> bool:
    fitting = all(repr(space.check(config)) == repr(config) for config in configs)
    kept = all(
        config[name] == given[name] for config in configs for name in config if name in given
    )
    return fitting and kept and len({repr(config) for config in configs}) == len(configs)


@given(spaces(), st.integers(0, 1000), st.booleans())
@few
def test_what_is_compared_fits_and_differs(space: SearchSpace, seed: int, fixed: bool) -> None:
    rng = np.random.default_rng(seed)
    centre, other = space.sample(rng), space.sample(rng)
    name = list(other)[seed % len(other)]
    given = {name: other[name]} if fixed else {}
    around = near(space, centre, 8, rng, given)
    assert valid(space, around, given)
    assert 1 <= len(around) <= 8
    spread = spread_out(space, 9, seed, given)
    assert valid(space, spread, given)
    assert 1 <= len(spread) <= 9


def test_the_seed_decides_what_is_spread_out() -> None:
    space = SPACES["tree"]
    assert spread_out(space, 64, 5, {}) == spread_out(space, 64, 5, {})
    assert spread_out(space, 64, 5, {}) != spread_out(space, 64, 6, {})


def test_it_is_spread_evenly() -> None:
    """Every sixteenth of each range holds as many: a property of Sobol points."""
    space = SPACES["floats"]
    vectors = np.stack([space.encode(config) for config in spread_out(space, 64, 0, {})])
    for column in vectors.T:
        counts, _ = np.histogram(column, 16, (0.0, 1.0))
        assert (counts == 4).all()


def test_what_is_near_is_near_but_not_only() -> None:
    space = SPACES["15 dimensions"]
    centre = space.sample(np.random.default_rng(0))
    around = near(space, centre, 200, np.random.default_rng(1), {})
    moved = np.stack([space.encode(config) for config in around]) - space.encode(centre)
    changed = np.abs(moved) > 1e-9
    assert len(around) > 190
    assert 0.2 < changed.mean() < 0.5, "some parameters are kept"
    distances = np.abs(moved[changed])
    assert np.quantile(distances, 0.3) < 0.08
    assert distances.max() > 0.4


def test_ends_of_the_ranges_are_not_preferred() -> None:
    space = SPACES["one float"]
    for end in (0.0, 1.0):
        around = near(space, {"a": end}, 100, np.random.default_rng(0), {})
        distances = np.asarray([abs(float(config["a"] or 0.0) - end) for config in around])
        assert len(distances) == 100
        assert distances.min() > 0.0, "steps over the end lead back"
        assert np.median(distances) < 0.2


def test_unordered_choices_are_drawn_anew_and_what_was_absent_filled_in() -> None:
    space = SPACES["tree"]
    centre: Config = {"optimizer": "adamw", "learning_rate": 0.01, "depth": 1}
    around = near(space, centre, 200, np.random.default_rng(0), {})
    assert {config["optimizer"] for config in around} == {"sgd", "adamw", "lbfgs"}
    momenta = [c["momentum"] for c in around if "momentum" in c]
    assert min(float(m or 0.0) for m in momenta) < 0.1
    assert max(float(m or 0.0) for m in momenta) > 0.8


def test_nothing_is_drawn_but_from_the_generator_given() -> None:
    space, centre = SPACES["tree"], SPACES["tree"].sample(np.random.default_rng(3))
    one, other = [near(space, centre, 20, np.random.default_rng(7), {}) for _ in range(2)]
    assert one == other
