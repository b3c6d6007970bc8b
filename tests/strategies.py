"""Hypothesis strategies for search spaces and vectors in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from metatune import Categorical, Float, Integer, SearchSpace
from metatune.parameters import Parameter, Value, Vectors

_scalars = st.one_of(st.text(max_size=8), st.booleans(), st.integers(-100, 100), st.floats(-10, 10))


def parameters() -> st.SearchStrategy[Parameter]:
    """Any parameter that TOML can say."""
    integers = st.integers(-1000, 1000).flatmap(
        lambda low: st.builds(Integer, st.just(low), st.integers(low + 1, low + 10**6))
    )
    log_integers = st.integers(1, 1000).flatmap(
        lambda low: st.builds(
            Integer, st.just(low), st.integers(low + 1, low * 1000), log=st.just(True)
        )
    )
    floats = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)).map(
        lambda ends: Float(ends[0], ends[0] + ends[1])
    )
    log_floats = st.tuples(st.floats(1e-12, 1e3), st.floats(1.5, 1e9)).map(
        lambda ends: Float(ends[0], ends[0] * ends[1], log=True)
    )
    choices = st.lists(_scalars, min_size=1, max_size=5, unique_by=repr).map(tuple)
    return st.one_of(
        floats, log_floats, integers, log_integers, st.builds(Categorical, choices, st.booleans())
    )


@st.composite
def spaces(draw: st.DrawFn, max_size: int = 6) -> SearchSpace:
    """Any space that TOML can say, with conditions on earlier parameters."""
    names: list[str] = draw(
        st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=max_size, unique=True)
    )
    made: dict[str, Parameter] = {}
    when: dict[str, dict[str, tuple[Value, ...]]] = {}
    for name in names:
        parents = [n for n, p in made.items() if not isinstance(p, Float)]
        conditional = draw(st.booleans())
        if parents and conditional:
            when[name] = {}
            for parent in sorted(draw(st.sets(st.sampled_from(parents), max_size=2))):
                when[name][parent] = tuple(draw(_values(made[parent])))
        made[name] = draw(parameters())
    return SearchSpace(made, when)


def _values(parameter: Parameter) -> st.SearchStrategy[list[Any]]:
    if isinstance(parameter, Integer):
        values: st.SearchStrategy[Any] = st.integers(parameter.low, parameter.high)
    else:
        values = st.sampled_from(parameter.choices if isinstance(parameter, Categorical) else ())
    return st.lists(values, min_size=1, max_size=3)


@st.composite
def vectors(draw: st.DrawFn, space: SearchSpace) -> Vectors:
    """A few vectors in [0, 1], corners included: [n, d]."""
    unit = st.floats(0, 1)
    rows = draw(
        st.lists(st.lists(unit, min_size=len(space), max_size=len(space)), min_size=1, max_size=4)
    )
    return np.array(rows)
