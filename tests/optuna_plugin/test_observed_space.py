"""Spaces of define-by-run studies, from what their trials asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metatune.optuna_plugin.observed_space import ObservedSpace, with_parameter
from metatune.parameters import Categorical, Float, Integer
from metatune.space import SearchSpace

X = FloatDistribution(0.0, 1.0)
KIND = CategoricalDistribution(("a", "b", "c"))
DEPTH = IntDistribution(1, 5)
Asked = Mapping[str, tuple[BaseDistribution, Any]]


def observed(*trials: Asked, assumed: SearchSpace | None = None, whole: bool = True) -> SearchSpace:
    space = ObservedSpace()
    space.assume(assumed)
    for trial in trials:
        distributions = {name: distribution for name, (distribution, _) in trial.items()}
        space.add(distributions, {name: value for name, (_, value) in trial.items()}, whole)
        space.space()  # asked for at every moment, it must not depend on that
    made = space.space()
    assert made is not None
    return made


def test_ranges_are_the_widest_on_the_scale_asked_for_last() -> None:
    space = observed(
        {"x": (FloatDistribution(1.0, 5.0), 2.0), "n": (IntDistribution(2, 2), 2)},
        {"x": (FloatDistribution(0.5, 2.0, log=True), 1.0), "n": (IntDistribution(4, 8), 5)},
    )
    assert space.parameters == {"n": Integer(2, 8), "x": Float(0.5, 5.0, log=True)}
    assert observed(
        {"x": (FloatDistribution(-1.0, 5.0), 2.0)},
        {"x": (FloatDistribution(0.5, 2.0, log=True), 1.0)},
    ).parameters == {"x": Float(-1.0, 5.0)}


def test_a_range_holds_what_was_enqueued_beyond_it() -> None:
    space = observed(
        {"n": (IntDistribution(1, 4), 9), "lr": (FloatDistribution(0.1, 1.0, log=True), 5.0)}
    )
    assert space.parameters == {"lr": Float(0.1, 5.0, log=True), "n": Integer(1, 9)}


def test_choices_are_all_that_were_offered() -> None:
    space = observed(
        {"k": (CategoricalDistribution(("a", "b")), "a")},
        {"k": (CategoricalDistribution(("c", "b")), "b")},
    )
    assert space.parameters == {"k": Categorical(("a", "b", "c"))}


def test_conditions_are_those_that_explain_every_trial() -> None:
    space = observed(
        {"kind": (KIND, "a"), "x": (X, 0.1)},
        {"kind": (KIND, "b")},
        {"kind": (KIND, "a"), "x": (X, 0.2)},
    )
    assert space.when == {"x": {"kind": ("a", "c")}}  # c was not seen yet
    assert space.names == ["kind", "x"]


def test_layers_that_exist_by_their_number() -> None:
    def net(depth: int) -> Asked:
        return {"depth": (DEPTH, depth)} | {f"width{i}": (X, 0.1) for i in range(depth)}

    space = observed(*(net(depth) for depth in (2, 5, 1, 3, 4)))
    assert space.when == {f"width{i}": {"depth": tuple(range(i + 1, 6))} for i in range(1, 5)}


def test_nested_conditions() -> None:
    inner = CategoricalDistribution(("u", "v"))
    space = observed(
        {"kind": (KIND, "a")},
        {"kind": (KIND, "b"), "inner": (inner, "u")},
        {"kind": (KIND, "b"), "inner": (inner, "v"), "x": (X, 0.5)},
        {"kind": (KIND, "c")},
    )
    assert space.when == {"inner": {"kind": ("b",)}, "x": {"inner": ("v",)}}


def test_what_nothing_explains_is_always_there() -> None:
    space = observed(
        {"kind": (KIND, "a"), "x": (X, 0.1)},
        {"kind": (KIND, "a")},
        {"kind": (KIND, "b"), "x": (X, 0.1)},
    )
    assert space.when == {}


def test_trials_that_ended_too_early_deny_nothing() -> None:
    space = ObservedSpace()
    space.add({"kind": KIND, "x": X}, {"kind": "a", "x": 0.1}, whole=True)
    space.add({"kind": KIND}, {"kind": "b"}, whole=False)
    made = space.space()
    assert made is not None
    assert made.when == {}


ASSUMED = SearchSpace(
    {
        "kind": Categorical(("a", "b")),
        "x": Float(-5.0, 5.0),
        "y": Float(0.0, 1.0),
        "z": Float(0.0, 1.0),
    },
    {"y": {"kind": ("b",)}, "x": {"kind": ("a",)}},
)


def test_what_is_assumed_holds_until_a_trial_denies_it() -> None:
    first = {"kind": (KIND, "a"), "x": (X, 0.1), "z": (X, 0.3)}
    space = observed(first, assumed=ASSUMED)
    assert space.when == ASSUMED.when
    assert space.parameters["x"] == Float(0.0, 1.0)  # as observed
    assert space.parameters["kind"] == Categorical(("a", "b", "c"))
    denied = observed(first, {"kind": (KIND, "b")}, assumed=ASSUMED)
    assert denied.names == ["kind", "x", "z"]  # z: once asked for, and once not
    assert denied.when == {"x": {"kind": ("a",)}, "z": {"kind": ("a", "c")}}


def test_children_of_what_is_denied_go_with_it() -> None:
    space = observed({"z": (X, 0.3)}, assumed=ASSUMED)
    assert space.names == ["z"]


def test_replacing_a_parameter_drops_what_cannot_exist() -> None:
    asked = CategoricalDistribution(("b", "c"))
    space = with_parameter(ASSUMED, "kind", asked)
    assert space.parameters["kind"] == Categorical(("b", "c"))
    assert space.names == ["kind", "y", "z"]


_TRIALS = st.lists(
    st.fixed_dictionaries(
        {"kind": st.tuples(st.just(KIND), st.sampled_from("abc"))},
        optional={
            "depth": st.tuples(st.just(DEPTH), st.integers(1, 5)),
            "x": st.tuples(st.just(X), st.floats(0.0, 1.0)),
            "y": st.tuples(st.just(X), st.floats(0.0, 1.0)),
        },
    ),
    min_size=1,
    max_size=12,
)


@given(_TRIALS, st.randoms(use_true_random=False), st.sampled_from([None, ASSUMED]))
def test_the_order_of_trials_does_not_matter(
    trials: list[Asked], rng: random.Random, assumed: SearchSpace | None
) -> None:
    shuffled = rng.sample(trials, len(trials))
    assert observed(*trials, assumed=assumed).id == observed(*shuffled, assumed=assumed).id
