from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metatune.optimizers.similarity import evidence, prior_weights
from metatune.task import Task

VALUES = st.floats(-1e6, 1e6) | st.just(math.inf)


def task(name: str, data_hash: str = "", **metafeatures: float) -> Task:
    return Task(name, metafeatures=metafeatures, data_hash=data_hash)


def test_like_tasks_weigh_more() -> None:
    others = [task("near", rows=1200.0), task("far", rows=90_000.0), task("further", rows=1e9)]
    near, far, further = prior_weights(task("ours", rows=1000.0), others)
    assert 1.0 > near > far > further > 0.0


def test_the_same_task_weighs_most() -> None:
    ours = task("ours", "abc", rows=1000.0)
    others = [ours, task("twin", rows=1000.0), task("ours", "other data", rows=1000.0)]
    same, twin, renewed = prior_weights(ours, others)
    assert same == 4.0
    assert twin == renewed == 1.0


def test_tasks_that_cannot_be_compared_weigh_alike_and_less() -> None:
    weights = prior_weights(task("ours", rows=1.0), [task("a"), task("b", colour=3.0)])
    assert weights[0] == weights[1] == pytest.approx(math.exp(-1.0))
    broken = [task("a", rows=math.nan), task("b", rows=math.inf)]
    assert prior_weights(task("ours", rows=1.0), broken) == pytest.approx(weights)
    assert len(prior_weights(task("ours"), [])) == 0


@given(st.integers(2, 8), st.data())
def test_evidence_speaks_for_those_who_predict_the_order(count: int, data: st.DataObject) -> None:
    observed = data.draw(arrays(float, count, elements=VALUES))
    other = data.draw(arrays(float, count, elements=VALUES))
    predicted = np.stack([observed, -observed, np.zeros(count), other])
    right, wrong, silent, any_order = evidence(predicted, observed)
    assert right >= 1.0 >= wrong
    assert right * wrong == pytest.approx(1.0)
    assert silent == pytest.approx(1.0)
    assert wrong - 1e-9 <= any_order <= right + 1e-9


def test_evidence_grows_with_what_was_seen() -> None:
    three, ten = np.arange(3.0), np.arange(10.0)
    assert 1.0 < evidence(three[None], three)[0] < evidence(ten[None], ten)[0]
    nothing_seen = evidence(np.empty((2, 0)), np.empty(0))
    assert (nothing_seen == 1.0).all()
