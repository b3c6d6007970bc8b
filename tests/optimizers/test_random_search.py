from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from optimizer_cases import study_of

from metatune.optimizers.random import RandomSearch
from metatune.parameters import Categorical, Float
from metatune.space import SearchSpace
from metatune.trial import Trial


def test_draws_are_uniform_on_the_scale() -> None:
    space = SearchSpace({"rate": Float(1e-6, 1.0, log=True), "kind": Categorical(("a", "b"))})
    drawn = RandomSearch().suggest(study_of(space), [], 600, 0)
    vectors = np.asarray([space.encode(suggestion.config) for suggestion in drawn])
    quarters = np.quantile(vectors[:, 0], [0.25, 0.5, 0.75])
    assert np.abs(quarters - [0.25, 0.5, 0.75]).max() < 0.06
    assert abs(np.mean(vectors[:, 1] > 0.5) - 0.5) < 0.06


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_small_space_is_covered_before_it_is_repeated(size: int, seed: int) -> None:
    space = SearchSpace({"kind": Categorical(tuple(range(size)))})
    drawn = RandomSearch().suggest(study_of(space), [], size, seed)
    assert {suggestion.config["kind"] for suggestion in drawn} == set(range(size))


def test_what_has_ended_may_be_drawn_again() -> None:
    space = SearchSpace({"kind": Categorical(("only",))})
    first = RandomSearch().suggest(study_of(space), [], 1, 0)[0]
    running = Trial("study", 0, first, 0)
    assert RandomSearch().suggest(study_of(space), [running], 1, 0)[0].config == first.config
