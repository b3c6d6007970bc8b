from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.experience.past import PastTask
from metatune.optimizers.held_out import HeldOut, expected_minimum, leave_out
from metatune.optimizers.transfer_model import fit
from metatune.parameters import Float
from metatune.space import SearchSpace
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState

SPACE = SearchSpace({"x": Float(0.0, 1.0), "y": Float(0.0, 1.0)})


def past_task(name: str, best: float, seed: int, count: int = 30) -> PastTask:
    """A bowl with its lowest point at x = `best`; every seventh trial failed."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        x, y = (float(value) for value in rng.random(2))
        value = (x - best) ** 2 + 0.2 * (y - 0.5) ** 2
        state = TrialState.FAILED if number % 7 == 6 else TrialState.COMPLETE
        kept = None if state is TrialState.FAILED else value
        suggestion = Suggestion({"x": x, "y": y}, "random")
        trials.append(Trial(name, number, suggestion, 0, state, (), kept, number))
    return PastTask(Task(name), SPACE, tuple(trials))


def checked(past: list[PastTask]) -> list[HeldOut]:
    model = fit(past, SPACE, 0)
    assert model is not None
    return leave_out(model, past, 0)


def test_like_tasks_gain_and_nothing_depends_on_luck() -> None:
    past = [past_task(f"t{seed}", 0.7, seed) for seed in range(3)]
    found = checked(past)
    assert [one.task for one in found] == ["t0", "t1", "t2"]
    assert found == checked(past)
    for one in found:
        assert one.verdict == "gained"
        assert one.proposals == (1, 3, 10, 25)
        assert one.candidates == 30
        for regrets in (one.learned, one.alone, one.random):
            assert all(0.0 <= later <= earlier <= 2.0 for earlier, later in pairwise(regrets))


def test_the_task_left_out_is_not_known() -> None:
    """Its twin by name or by data would give its best trial away."""
    task = past_task("t", 0.1, 0)
    twin = PastTask(Task("t"), SearchSpace({"x": Float(0.0, 1.0)}), task.trials)
    far = past_task("far", 0.9, 1)
    (one, other) = checked([task, twin, far])
    assert (one.task, other.task) == ("t", "far")
    assert one == checked([task, far])[0]


def test_a_task_without_others_cannot_be_checked() -> None:
    assert checked([past_task("t", 0.1, 0)]) == []


def test_short_tasks_are_compared_as_far_as_they_go() -> None:
    found = checked([past_task("a", 0.5, 0, count=5), past_task("b", 0.5, 1, count=4)])
    assert [one.proposals for one in found] == [(1, 3), (1, 3)]


@pytest.mark.parametrize(
    ("learned", "verdict"), [(0.3, "gained"), (0.395, "even"), (0.405, "even"), (0.5, "harmed")]
)
def test_the_better_of_the_others_is_the_measure(learned: float, verdict: str) -> None:
    for others in ((0.4, 0.9), (0.9, 0.4)):
        one = HeldOut("t", 9, (1, 3), (learned,) * 2, (others[0],) * 2, (others[1],) * 2)
        assert one.verdict == verdict


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7), st.data())
def test_the_expected_minimum_is_the_mean_over_all_choices(
    values: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(values)))
    expected = np.mean([min(chosen) for chosen in combinations(values, count)])
    assert expected_minimum(np.asarray(values), count) == pytest.approx(expected, abs=1e-12)
