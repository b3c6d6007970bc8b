"""Which of the best is best over seeds, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_studies import EPOCHS, MLP, told, trained

from metatune.errors import ConfigurationError, StudyError
from metatune.export.seeds import choose, new_seeds, probability_of_best
from metatune.networks.data.loading import load
from metatune.networks.training import Training
from metatune.trial import TrialState

WORSE = {**MLP, "learning_rate": 1e-6}
LOST = {**MLP, "learning_rate": 1e30, "gradient_clipping": False}
LOST.pop("gradient_norm")
_VALUE = st.floats(-10, 10).map(lambda x: round(x, 3))


def test_the_better_mean_is_chosen_and_nothing_is_left_to_chance() -> None:
    study, trials = trained([WORSE, MLP])
    # However lucky the worse one was when it was recorded.
    lucky = [replace(trials[0], value=0.0), trials[1]]
    told_epochs: list[None] = []
    choice = choose(study, lucky, 3, lambda: told_epochs.append(None))
    assert len(told_epochs) == 2 * 3 * EPOCHS
    assert choice.best.trial is trials[1]
    assert choice.sure > 0.6
    assert choice == choose(study, lucky, 3)
    other = replace(study, seed=6)
    assert choose(other, lucky, 3).best.values != choice.best.values
    values = choice.best.values
    assert len(set(values)) == 3
    assert trials[1].value not in values, "fresh seeds"
    result = choice.result()
    assert result["mean"] == fmean(values)
    assert result["deviation"] == stdev(values)
    assert (result["seeds"], result["candidates"]) == (3, 2)


def test_a_rerun_is_a_training_from_another_seed_on_the_same_split() -> None:
    study, trials = trained([MLP])
    choice = choose(study, trials, 2)
    assert "sure" not in choice.result(), "there was no choice"
    again = [
        min(s["validation_loss"] for s in Training(MLP, load("iris"), seed, EPOCHS).fit())
        for seed in new_seeds(study, 2)
    ]
    assert again == list(choice.best.values)


def test_a_candidate_that_diverges_is_not_chosen() -> None:
    study, trials = trained([MLP, MLP])
    lost = [replace(trials[0], suggestion=replace(trials[0].suggestion, config=LOST)), trials[1]]
    choice = choose(study, lost, 2)
    assert choice.best.trial is lost[1]
    assert math.isnan(choice.reruns[1].mean)
    assert choice.sure == 1.0
    with pytest.raises(StudyError, match="each of the 1 candidates diverges"):
        choose(study, lost[:1], 2)


def test_a_trainable_of_the_users_is_refused() -> None:
    study, trials = told([TrialState.COMPLETE])
    with pytest.raises(ConfigurationError, match=r"study 'shop-0'.*'train_shop'"):
        choose(study, trials, 2)


@settings(max_examples=40)
@given(st.lists(st.lists(_VALUE, min_size=3, max_size=3), min_size=1, max_size=5))
def test_probabilities_of_being_best_sum_to_one(values: list[list[float]]) -> None:
    values = [[x + index / 1e4 for x in of] for index, of in enumerate(values)]  # no ties
    chances = [
        probability_of_best([values[i], *values[:i], *values[i + 1 :]]) for i in range(len(values))
    ]
    assert all(0.0 <= chance <= 1.0 for chance in chances)
    assert sum(chances) == pytest.approx(1.0, abs=0.02)


@settings(max_examples=40)
@given(st.integers(2, 20), st.floats(0.0, 5.0))
def test_of_two_it_is_what_student_says(seeds: int, apart: float) -> None:
    """Against a constant the chance has a closed form."""
    values = np.linspace(-1.0, 1.0, seeds).tolist()
    error = stdev(values) / math.sqrt(seeds)
    chance = probability_of_best([values, [apart] * seeds])
    assert chance == pytest.approx(stats.t(seeds - 1).cdf(apart / error), abs=1e-3)


def test_of_equals_each_is_as_likely() -> None:
    assert probability_of_best([[1.0, 1.0], [1.0, 1.0]]) == 0.5
    same = [[0.0, 1.0, 2.0]] * 4
    assert probability_of_best(same) == pytest.approx(0.25, abs=1e-3)


def test_it_is_how_often_a_choice_is_right() -> None:
    """Over draws of means and values, as the formula assumes: known deviations, many seeds."""
    rng = np.random.default_rng(0)
    sure, right = [], []
    for _ in range(400):
        means = rng.normal(0.0, 1.0, 3)
        values = means[:, None] + rng.normal(0.0, 1.0, (3, 10))
        order = np.argsort(values.mean(axis=1))
        sure.append(probability_of_best(values[order].tolist()))
        right.append(order[0] == means.argmin())
    assert fmean(sure) == pytest.approx(np.mean(right), abs=0.05)
