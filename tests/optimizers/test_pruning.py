from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.errors import InputError
from metatune.optimizers.pruning import (
    Hyperband,
    NoPruner,
    Pruner,
    SuccessiveHalving,
    default_pruner,
)
from metatune.trial import Report, Suggestion, Trial, TrialState

VALUES = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf])
PRUNERS = st.builds(
    SuccessiveHalving,
    min_step=st.integers(1, 4),
    reduction=st.integers(2, 4),
    max_step=st.none() | st.integers(4, 30),
) | st.builds(Hyperband, max_step=st.integers(4, 30), reduction=st.integers(2, 4))


def curve(*values: float) -> tuple[Report, ...]:
    return tuple(Report(step, value, float(step)) for step, value in enumerate(values, start=1))


def trial(number: int, *values: float) -> Trial:
    return Trial("study", number, Suggestion({}, "random"), 0, curve=curve(*values))


@st.composite
def studies(draw: st.DrawFn) -> list[Trial]:
    """Trials with curves of any length, gaps between steps, and any state."""
    made = []
    for number in range(draw(st.integers(1, 9))):
        values = draw(st.lists(VALUES, min_size=1, max_size=9))
        steps = sorted(
            draw(st.sets(st.integers(1, 20), min_size=len(values), max_size=len(values)))
        )
        reports = [Report(s, v, float(s)) for s, v in zip(steps, values, strict=True)]
        state = draw(st.sampled_from(TrialState))
        made.append(replace(trial(number), curve=tuple(reports), state=state))
    return made


@given(PRUNERS, studies(), st.randoms(use_true_random=False))
def test_the_order_of_the_trials_does_not_matter(
    pruner: Pruner, trials: list[Trial], random: Any
) -> None:
    shuffled = random.sample(trials, len(trials))
    for one in trials:
        decision = pruner.should_prune(one, trials)
        assert pruner.should_prune(one, shuffled) == decision
        others = [other for other in trials if other.id != one.id]
        assert pruner.should_prune(one, others) == decision


@given(PRUNERS, studies())
def test_the_best_trial_is_never_stopped(pruner: Pruner, trials: list[Trial]) -> None:
    best = replace(trial(99), curve=tuple(Report(s, -1e9, float(s)) for s in range(1, 21)))
    for length in range(1, 21):
        so_far = replace(best, curve=best.curve[:length])
        assert not pruner.should_prune(so_far, [*trials, so_far])


@given(PRUNERS, studies())
def test_a_replay_decides_the_same(pruner: Pruner, trials: list[Trial]) -> None:
    def replayed() -> list[bool]:
        decisions = []
        known: dict[int, Trial] = {}
        for step in range(1, 21):
            for one in trials:
                if any(report.step == step for report in one.curve):
                    so_far = tuple(report for report in one.curve if report.step <= step)
                    known[one.number] = replace(one, curve=so_far, state=TrialState.RUNNING)
                    decisions.append(pruner.should_prune(known[one.number], [*known.values()]))
        return decisions

    assert replayed() == replayed()


@given(studies())
def test_a_decision_is_taken_only_where_a_rung_is_first_reached(trials: list[Trial]) -> None:
    pruner = SuccessiveHalving(min_step=2, reduction=3, max_step=18)
    for one in trials:
        before = one.curve[-2].step if len(one.curve) > 1 else 0
        if not any(before < rung <= one.step for rung in (2, 6)):
            assert not pruner.should_prune(one, trials)


def test_the_best_third_goes_on() -> None:
    pruner = SuccessiveHalving()
    trials = [trial(number, float(number)) for number in range(9)]
    assert [pruner.should_prune(one, trials) for one in trials] == [False] * 3 + [True] * 6
    assert not pruner.should_prune(trials[8], trials[8:])  # the first to arrive goes on


def test_equal_trials_go_on_together() -> None:
    trials = [trial(number, 1.0) for number in range(9)]
    assert not any(SuccessiveHalving().should_prune(one, trials) for one in trials)


def test_a_rung_compares_the_best_value_until_it_was_reached() -> None:
    pruner = SuccessiveHalving(min_step=3)
    steady = [trial(number, 5.0, 5.0, 5.0) for number in range(4)]
    assert not pruner.should_prune(trial(9, 9.0, 1.0, 9.0), steady)
    assert pruner.should_prune(trial(9, 9.0, 9.0, 9.0), steady)
    late = [replace(t, curve=(*t.curve, Report(4, 0.0, 4.0))) for t in steady]
    assert not pruner.should_prune(trial(9, 9.0, 4.0, 9.0), late)  # what came after does not count


def test_trials_that_jump_over_rungs_are_judged_at_each() -> None:
    pruner = SuccessiveHalving(min_step=1, reduction=2)
    others = [trial(number, 1.0, 1.0, 1.0, 1.0) for number in range(5)]
    jumper = replace(trial(9), curve=(Report(4, 2.0, 4.0),))
    assert pruner.should_prune(jumper, others)
    assert not pruner.should_prune(replace(jumper, curve=(Report(4, 0.5, 4.0),)), others)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_finite_number_at_a_rung_is_stopped(value: float) -> None:
    assert SuccessiveHalving().should_prune(trial(0, value), [])
    assert SuccessiveHalving(reduction=2).should_prune(trial(0, 1.0, value), [])
    assert not SuccessiveHalving(min_step=2).should_prune(trial(0, value), [])
    others = [trial(number, value) for number in range(1, 6)]
    assert not SuccessiveHalving().should_prune(trial(0, 1e9), others)


def test_pruned_trials_count_where_they_got_to() -> None:
    pruner = SuccessiveHalving(min_step=1, reduction=3)
    stopped = [replace(trial(n, 1.0), state=TrialState.PRUNED) for n in range(5)]
    assert pruner.should_prune(trial(9, 2.0), stopped)
    assert not pruner.should_prune(trial(9, 0.5, 2.0, 2.0), stopped)


def test_hyperband_gives_brackets_their_trials_in_turn() -> None:
    pruner = Hyperband(max_step=9)
    firsts = []
    for number in range(34):
        bad = [replace(trial(number, *[5.0] * steps)) for steps in (1, 3, 9)]
        good = [trial(n, *[1.0] * 9) for n in range(200)]
        stops = [one.step for one in bad if pruner.should_prune(one, good)]
        firsts.append(stops[0] if stops else None)
    assert firsts == ([1] * 9 + [3] * 5 + [None] * 3) * 2
    other_brackets = [trial(number, 1.0) for number in range(9, 17)]
    assert not pruner.should_prune(trial(0, 5.0), other_brackets)
    assert pruner.should_prune(trial(0, 5.0), [trial(number, 1.0) for number in range(17, 26)])


def test_what_was_learned_is_judged_later() -> None:
    assert default_pruner(None, learned=True) == NoPruner()
    assert default_pruner(27, learned=False) == SuccessiveHalving(3, 3, 27)
    assert default_pruner(27, learned=True) == SuccessiveHalving(9, 3, 27)
    assert default_pruner(2, learned=True) == SuccessiveHalving(1, 3, 2)


def test_words_and_settings() -> None:
    assert str(NoPruner()) == "none"
    assert not NoPruner().should_prune(trial(0, math.nan), [])
    assert str(SuccessiveHalving()) == "asha(min_step=1, reduction=3)"
    assert str(SuccessiveHalving(2, 4, 50)) == "asha(min_step=2, reduction=4, max_step=50)"
    assert str(Hyperband(81)) == "hyperband(max_step=81, min_step=1, reduction=3)"
    for settings, message in (
        ({"min_step": 0}, "min_step = 0 must be at least 1"),
        ({"reduction": 1}, "reduction = 1 must be at least 2"),
        ({"min_step": 4, "max_step": 3}, "max_step = 3 must be at least min_step = 4"),
    ):
        with pytest.raises(InputError, match=message):
            SuccessiveHalving(**settings)
    with pytest.raises(InputError, match="max_step = 0 must be at least min_step = 1"):
        Hyperband(0)
