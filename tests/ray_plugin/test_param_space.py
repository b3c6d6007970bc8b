"""Ray's domains become a search space, and its configurations come back in the user's own form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune
from ray.tune.impl.placeholder import create_resolvers_map, inject_placeholders

from metatune import Categorical, Float, Integer, SearchSpace
from metatune.errors import ConfigurationError, SpaceError
from metatune.parameters import Parameter
from metatune.ray_plugin.param_space import ParamSpace

EVERYTHING: dict[str, Any] = {
    "a": tune.uniform(-1, 2.5),
    "b": tune.loguniform(1e-4, 1e-1),
    "c": tune.quniform(0, 0.3, 0.1),
    "d": tune.qloguniform(1e-3, 1e-1, 1e-3),
    "e": tune.randint(3, 10),
    "f": tune.lograndint(1, 1000),
    "g": tune.qrandint(-5, 100, 10),
    "h": tune.qlograndint(8, 512, 8),
    "i": {"k": tune.choice(["x", 1, 2.5, True, None]), "l": {"m": tune.qrandint(1, 4, 1)}},
    "j": tune.choice([[64, 64], (3, 3), {"w": 1}, "no"]),
    "constant": {"of": ["any", "kind"], "n": 3},
    "fixed": tune.randint(3, 4),
}


def test_domains_become_parameters() -> None:
    expected: dict[str, Parameter] = {
        "a": Float(-1, 2.5),
        "b": Float(1e-4, 1e-1, log=True),
        "c": Float(0, 0.1 * 3),
        "d": Float(1e-3, 1e-1, log=True),
        "e": Integer(3, 9),
        "f": Integer(1, 999, log=True),
        "g": Integer(0, 100),
        "h": Integer(8, 512, log=True),
        "i/k": Categorical(("x", 1, 2.5, True, None)),
        "i/l/m": Integer(1, 3),
        "j": Categorical(("[64, 64]", "[3, 3]", '{"w": 1}', "no")),
        "fixed": Categorical((3,)),
    }
    assert ParamSpace.of(EVERYTHING).space == SearchSpace(expected)


@given(st.integers(0, 2**32))
def test_what_ray_draws_is_in_the_space_and_what_is_proposed_is_valid_for_ray(seed: int) -> None:
    params = ParamSpace.of(EVERYTHING)
    drawn = {k: v.sample(random_state=seed) for k, v in EVERYTHING.items() if hasattr(v, "sample")}
    inner = EVERYTHING["i"]
    drawn["i"] = {
        "k": inner["k"].sample(random_state=seed),
        "l": {"m": inner["l"]["m"].sample(random_state=seed)},
    }
    config = params.flat(drawn)
    assert params.nested(config) == drawn
    assert params.on_grid(config) == config
    proposed = params.on_grid(params.space.sample(np.random.default_rng(seed)))
    assert params.space.check(proposed) == proposed
    assert params.flat(params.nested(proposed)) == proposed
    for name, grid in (("c", 0.1), ("d", 1e-3), ("g", 10), ("h", 8)):
        value = proposed[name]
        assert isinstance(value, int | float)
        assert value == np.round(value / grid) * grid


def test_lists_come_back_as_they_were() -> None:
    params = ParamSpace.of({"shape": tune.choice([[64, 64], (3, 3)])})
    assert params.nested({"shape": "[3, 3]"}) == {"shape": (3, 3)}
    again = ParamSpace.from_dict(params.space, json.loads(json.dumps(params.to_dict())))
    assert again == params
    assert again.nested({"shape": "[64, 64]"}) == {"shape": [64, 64]}
    for kept in ((3, 3), [3, 3]):  # Ray itself makes a list of it when it restores a trial
        assert again.flat({"shape": kept}) == {"shape": "[3, 3]"}


def test_repeated_choices_and_numpy_floats_are_plain_choices() -> None:
    params = ParamSpace.of({"x": tune.choice([1, 1, 2]), "y": tune.choice(list(np.array([0.5])))})
    assert params.space == SearchSpace({"x": Categorical((1, 2)), "y": Categorical((0.5,))})


def test_a_search_space_is_taken_as_it_is() -> None:
    space = SearchSpace(
        {"opt/name": Categorical(("sgd", "adam")), "opt/momentum": Float(0, 1)},
        {"opt/momentum": {"opt/name": ("sgd",)}},
    )
    params = ParamSpace.of(space)
    assert params.nested({"opt/name": "adam"}) == {"opt": {"name": "adam"}}
    assert params.flat({"opt": {"name": "adam"}, "data": 1}) == {"opt/name": "adam"}


@pytest.mark.parametrize(
    ("domains", "said"),
    [
        ({"x": tune.grid_search([1, 2])}, "'x': tune.grid_search([1, 2])"),
        ({"m": {"x": tune.randn(0, 1)}}, "'m/x': this domain has no bounds"),
        ({"x": tune.sample_from(lambda: 1)}, "'x' is sampled by a function"),
        ({"x": {"eval": "1"}}, "'x' is sampled by a function"),
        ({"x": [1, tune.uniform(0, 1)]}, "'x/1' stands in a list"),
        ({"x": 1, "y": "two"}, "only constants ['x', 'y']"),
        ({"a/b": tune.uniform(0, 1), "a": {"b": tune.uniform(0, 1)}}, "are both 'a/b'"),
        ({"x": tune.choice([print, len])}, "'x': tune.choice among objects"),
        ({"x": tune.choice([tune.uniform(0, 1)])}, "'x': tune.choice among objects"),
        ({"x": tune.choice([[1], "[1]"])}, "has a list and its text"),
        ({"x": tune.choice([[1], (1,)])}, "[1] and (1,) are remembered as the same [1]; drop one"),
        ({"x": tune.choice([])}, "'x': choices = []"),
        ({"x": tune.uniform(2, 1)}, "'x': from 2 to 1"),
        ({"x": tune.qrandint(1, 4, 10)}, "'x': from 1 to 4 holds no value"),
        ({"x": tune.randint(0, 10**13)}, "within 10**12"),
    ],
)
def test_what_cannot_be_proposed_is_named(domains: dict[str, Any], said: str) -> None:
    for config in (domains, inject_placeholders(domains, create_resolvers_map())):
        with pytest.raises(SpaceError) as caught:
            ParamSpace.of(config)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_grid_may_be_recorded() -> None:
    params = ParamSpace.of({"x": tune.grid_search([1, 2])}, grid_search=True)
    assert params.space == SearchSpace({"x": Categorical((1, 2))})


def test_values_of_other_searchers_are_taken_as_the_numbers_they_are() -> None:
    params = ParamSpace.of({"n": tune.randint(0, 10), "x": tune.uniform(0, 1)})
    assert params.flat({"n": 3.0, "x": np.float32(0.5)}) == {"n": 3, "x": 0.5}
    for wrong in ({"n": 3.5, "x": 0.5}, {"n": 3}, {"n": 3, "x": 2.0}, {"n": 3, "x": [1]}):
        with pytest.raises(ConfigurationError, match="config of a trial: "):
            params.flat(wrong)
