"""Spaces inferred from values: kinds, ranges, scales, conditions, and what is kept out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.errors import ConfigurationError
from metatune.experience.history.found import FoundTrial
from metatune.experience.history.inference import Inferred, conform, infer
from metatune.experience.history.literals import is_missing, parsed
from metatune.experience.history.scales import is_logarithmic, number_range
from metatune.parameters import Categorical, Float, Integer, Parameter, Value
from metatune.space import Config, SearchSpace
from metatune.trial import TrialState


def trials(
    configs: list[dict[str, Any]], state: TrialState = TrialState.COMPLETE
) -> list[FoundTrial]:
    return [FoundTrial(str(index), config, state) for index, config in enumerate(configs)]


def inferred_from(values: list[Any]) -> Inferred:
    """What is inferred from the values of `p`, beside a parameter that varies."""
    return infer(trials([{"p": value, "z": n % 2 == 0} for n, value in enumerate(values)]))


def parameter(values: list[Any]) -> Parameter | None:
    return inferred_from(values).findings[0].parameter


def reason(values: list[Any]) -> str:
    return inferred_from(values).findings[0].reason


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("1e-3", 0.001),
        ("0.001", 0.001),
        ("True", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ("inf", math.inf),
        ("adam", "adam"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("007", "007"),
        ("", ""),
        (True, True),
        (3, 3),
    ],
)
def test_texts_stand_for_values(text: Value, value: Value) -> None:
    assert repr(parsed(text)) == repr(value)


@given(st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_what_python_writes_is_read_back(value: Value) -> None:
    assert repr(parsed(str(value))) == repr(value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0.1", "0.01", "0.001"], Float(0.001, 0.1, log=True)),
        ([16, 32, 64, 16], Integer(16, 64, log=True)),
        (["16", "32", "64"], Integer(16, 64, log=True)),
        ([0.0, 0.25, 0.5], Float(0.0, 0.5)),
        ([1, 2, 3, 2], Integer(1, 3)),
        (["True", "False", "true"], Categorical((False, True))),
        (["adam", "sgd", "sgd"], Categorical(("adam", "sgd"))),
        (["None", "5", "10", "5"], Categorical((None, 5, 10))),
        (["auto", "0.5", "auto"], Categorical((0.5, "auto"))),
        ([64, 128, 64, 128], Integer(64, 128)),
        ([1e-4, 1e-2, 1e-4, 1e-2], Float(1e-4, 1e-2, log=True)),
        (["1.0", "2.0", "", "4.0"], Integer(1, 4, log=True)),
        ([1.0, 2.0, 3.0], Float(1.0, 3.0)),
        ([0.5, math.inf, 0.5], Categorical((0.5, "inf"))),
    ],
)
def test_kind_range_and_scale_follow_from_few_values(
    values: list[Any], expected: Parameter
) -> None:
    found = parameter(values)
    if isinstance(expected, Categorical):
        assert isinstance(found, Categorical)
        assert sorted(map(repr, found.choices)) == sorted(map(repr, expected.choices))
    else:
        assert found == expected


def test_random_values_give_back_the_range_and_the_scale_they_were_drawn_from() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        for count in (30, 300):
            logs = (10 ** rng.uniform(-5, -1, count)).tolist()
            assert parameter(logs) == Float(1e-5, 0.1, log=True) or count == 30
            assert isinstance(found := parameter(logs), Float)
            assert found.log
            assert isinstance(found := parameter(rng.uniform(0.0, 1.0, count).tolist()), Float)
            assert not found.log, (seed, count)
            assert isinstance(found := parameter(rng.integers(1, 1000, count).tolist()), Integer)
            assert not found.log, (seed, count)


def test_values_that_an_optimizer_concentrated_are_still_logarithmic() -> None:
    rng = np.random.default_rng(0)
    explored, homed = 10 ** rng.uniform(-5, -1, 25), rng.uniform(0.03, 0.1, 175)
    assert is_logarithmic(np.unique(np.concatenate([explored, homed])))[0]
    # As many values, as far apart at their ends, but with no more small ones than even spacing has.
    assert not is_logarithmic(np.unique(np.append(rng.uniform(0.0, 0.1, 199), 1e-5)))[0]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30))
def test_every_value_lies_in_its_range(values: list[float]) -> None:
    for whole in (False, True):
        numbers = [float(round(v)) for v in values if abs(v) < 1e12] if whole else values
        spread = max(numbers, default=0.0) - min(numbers, default=0.0)
        if len(set(numbers)) > 1 and math.isfinite(spread):
            found, _ = number_range(numbers, whole)
            assert all(found.low <= value <= found.high for value in numbers)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([7, 7, 7], "always 7"),
        (["x", "x"], "always 'x'"),
        ([math.nan, "", "nan"], "never has a value"),
        (list(range(12)), "counts the trials"),
        ([10**13, 10**13 + 5], "beyond 10**12"),
        ([1.7e9 + 13 * n * n for n in range(6)], "times"),
        ([f"run-{n}" for n in range(6)], "6 different texts in 6 trials"),
        ([f"/data/run/{n % 4}" for n in range(30)], "a path"),
        ([f"s3://bucket/{n % 4}" for n in range(30)], "a path or an address"),
        ([f"2026-01-0{1 + n % 5}T10:00:00" for n in range(30)], "a time"),
        ([f"{n % 9:08}" for n in range(40)], "an id"),
        ([f"3fa{n % 9}b7c{n % 7}" for n in range(40)], "an id"),
        ([f"c{n % 25}" for n in range(100)], "25 different texts"),
        ([1e308, -1e308, 0.5], "finite"),
    ],
)
def test_what_says_nothing_is_kept_out_and_why(values: list[Any], why: str) -> None:
    assert parameter(values) is None
    assert why in reason(values)


def test_seeds_are_kept_out_by_name_alone() -> None:
    found = infer(trials([{"seed": n, "model.random_state": n, "seeds": n % 3} for n in range(5)]))
    kept = {finding.name: finding.parameter is not None for finding in found.findings}
    assert kept == {"seed": False, "model.random_state": False, "seeds": True}


def test_none_beside_many_numbers_is_missing() -> None:
    found = inferred_from([None, *(0.1 * n for n in range(1, 10))])
    assert isinstance(found.findings[0].parameter, Float)
    assert "None (1 trials) is taken for missing" in found.findings[0].reason
    assert found.space is not None
    assert conform({"p": "None", "z": True}, found.space) == {"z": True}


def test_an_infinity_beside_many_numbers_is_outside_their_range() -> None:
    values: list[Any] = [10.0**-n for n in range(9)]
    assert parameter([*values, math.inf, "-inf"]) == parameter(values) == Float(1e-8, 1.0, log=True)
    assert parameter([1.0, 5.0, math.inf] * 3) == Categorical((1.0, 5.0, "inf"))


def test_a_text_among_many_numbers_is_named() -> None:
    values: list[Any] = ["auto", *(0.1 * n for n in range(29))]
    assert parameter(values) is None
    assert reason(values) == "29 numbers beside texts such as 'auto'"


def test_constants_are_told() -> None:
    found = infer(trials([{"a": "0.5", "b": n} for n in range(3)]))
    assert found.constants == {"a": 0.5}
    assert found.space is not None
    assert found.space.names == ["b"]
    assert infer(trials([{"a": 1}, {"a": 1}])).space is None


def test_what_the_source_says_holds() -> None:
    said: dict[str, Parameter] = {"a": Float(0.0, 100.0), "b": Categorical(("1", "2"))}
    found = infer(trials([{"a": 1.0, "b": "1"}, {"a": 1.0, "b": "2"}]), said, {"a": "in steps"})
    assert found.space is not None
    assert found.space.parameters == said
    assert [(f.is_said, f.reason) for f in found.findings] == [(True, "in steps"), (True, "")]
    assert conform({"a": 1, "b": "2"}, found.space) == {"a": 1.0, "b": "2"}


def conditional(number: int) -> Config:
    config: Config = {"lr": 0.1 * (1 + number), "optimizer": ("sgd", "adam", "lion")[number % 3]}
    if config["optimizer"] == "sgd":
        config["nesterov"] = number % 2 == 0
        config["momentum"] = 0.5 + 0.01 * number
        if config["nesterov"]:
            config["damping"] = 0.1 * number
    return config


def test_a_condition_that_one_choice_explains_is_found_and_a_chain_of_them() -> None:
    found = infer(trials([conditional(number) for number in range(36)]))
    assert found.space is not None
    assert found.space.when == {
        "nesterov": {"optimizer": ("sgd",)},
        "momentum": {"optimizer": ("sgd",)},
        "damping": {"nesterov": (True,)},
    }


def test_parents_come_before_children_whatever_the_order_of_names() -> None:
    configs = [dict(reversed(conditional(number).items())) for number in range(36)]
    found = infer(trials(configs))
    assert found.space is not None
    assert found.space.when["damping"] == {"nesterov": (True,)}
    assert found.space.names.index("optimizer") < found.space.names.index("momentum")


def test_a_whole_number_can_be_a_parent() -> None:
    configs: list[Config] = [
        {"layers": 1 + n % 3, **{f"units{k}": 8 * (1 + n) for k in range(1 + n % 3)}}
        for n in range(12)
    ]
    found = infer(trials(configs))
    assert found.space is not None
    assert found.space.when == {"units1": {"layers": (2, 3)}, "units2": {"layers": (3,)}}


def test_a_failed_trial_may_lack_what_it_was_not_asked_for_yet() -> None:
    whole = trials([conditional(number) for number in range(36)])
    failed = FoundTrial("x", {"optimizer": "sgd"}, TrialState.FAILED)
    found = infer([*whole, failed])
    assert found.space is not None
    assert found.space.when["momentum"] == {"optimizer": ("sgd",)}


def test_without_a_perfect_explanation_a_parameter_may_be_missing() -> None:
    configs = [conditional(number) for number in range(36)]
    configs[1]["momentum"] = 0.7  # adam
    found = infer(trials(configs))
    assert found.space is not None
    assert "momentum" not in found.space.when
    assert "momentum" not in conform(configs[2], found.space)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "c", "seed"]),
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=3)
            | st.sampled_from(["1", "1.0", "None", "True", "nan", "-inf", "1e400"]),
        ),
        max_size=12,
    )
)
def test_anything_can_be_inferred_from_and_fits_what_is_inferred(configs: list[Config]) -> None:
    states = [TrialState.COMPLETE, TrialState.FAILED]
    found = infer([FoundTrial(str(n), c, states[n % 2]) for n, c in enumerate(configs)])
    names = {name for config in configs for name in config}
    assert {finding.name for finding in found.findings} == names
    if found.space is not None:
        for config in configs:
            fitted = conform(config, found.space)
            for name, value in fitted.items():
                assert found.space.parameters[name].contains(value)
            for name in set(config) & set(found.space.names) - set(fitted):
                absent = config[name]
                assert is_missing(absent) or parsed(absent) is None


SPACE = SearchSpace(
    {"kind": Categorical(("a", 1, None)), "x": Float(0.0, 1.0), "n": Integer(1, 9)},
    {"n": {"kind": ("a",)}},
)


@pytest.mark.parametrize(
    ("config", "fitted"),
    [
        ({"kind": "1", "x": "0.5"}, {"kind": 1, "x": 0.5}),
        ({"kind": 1.0}, {"kind": 1}),
        ({"kind": "None", "x": 1}, {"kind": None, "x": 1.0}),
        ({"kind": "a", "n": 3.0, "x": None}, {"kind": "a", "n": 3}),
        ({"kind": "1", "n": "3"}, {"kind": 1}),
        ({"n": 3, "other": 5}, {}),
    ],
)
def test_values_are_fitted_to_their_parameters(config: Config, fitted: Config) -> None:
    assert repr(conform(config, SPACE)) == repr(fitted)


@pytest.mark.parametrize("config", [{"x": 1.5}, {"x": "much"}, {"kind": "b"}, {"kind": True}])
def test_a_value_that_does_not_fit_is_named(config: Config) -> None:
    name, value = next(iter(config.items()))
    with pytest.raises(ConfigurationError, match=f"{name} = {value!r} is not in"):
        conform(config, SPACE)
