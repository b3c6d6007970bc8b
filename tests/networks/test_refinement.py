"""Refining proposals by hypergradients."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from metatune import Categorical, Float, SearchSpace
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.hypergradients.refinement import asks_to_be_refined, refine
from metatune.networks.training import Training
from metatune.space import Config

SPACE = SearchSpace(
    {
        "learning_rate": Float(1e-7, 100.0, log=True),
        "beta1": Float(0.8, 0.99),
        "weight_decay": Float(1e-6, 1e-1, log=True),
        "dropout": Float(0.0, 0.5),
        "initializer_gain": Float(0.4, 2.5, log=True),
        "gradient_norm": Float(0.01, 10.0, log=True),
        "input_noise": Float(0.0, 1.0),
        "batch_size": Categorical((32,)),
    }
)
GOOD: Config = {
    "network": "mlp", "depth": 2, "width": 24, "activation": "relu", "normalization": "none",
    "dropout": 0.1, "initializer": "kaiming", "initializer_gain": 1.0, "optimizer": "adamw",
    "learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "weight_decay": 1e-3,
    "gradient_clipping": False, "schedule": "constant", "batch_size": 32,
    "loss": "cross_entropy", "label_smoothing": 0.0, "refine": "hypergradient",
}  # fmt: skip
EPOCHS = 12


@pytest.fixture(scope="module")
def cancer() -> Dataset:
    return load("breast_cancer")


def begun(dataset: Dataset, seed: int = 0, **change: float | str) -> Training:
    return Training({**GOOD, **change}, dataset, seed, EPOCHS)


def best(training: Training) -> float:
    losses = [scores["validation_loss"] for scores in training.fit()]
    return min((loss for loss in losses if math.isfinite(loss)), default=math.inf)


@pytest.mark.parametrize("times", [100.0, 0.01])
def test_a_bad_learning_rate_becomes_a_good_one(cancer: Dataset, times: float) -> None:
    bad = {"learning_rate": 1e-2 * times}
    changes = refine([begun(cancer, seed, **bad) for seed in (0, 1)], SPACE)
    for seed, change in enumerate(changes):
        assert set(change) <= set(SPACE.names)
        for name, value in change.items():
            assert SPACE.parameters[name].contains(value)
        refined = Training({**GOOD, **bad, **change}, cancer, seed, EPOCHS)
        start, tuned = best(begun(cancer, seed, **bad)), best(begun(cancer, seed))
        assert best(refined) < tuned + 0.1 * (min(start, 0.66) - tuned)


def test_what_is_refined_with_others_is_refined_as_alone(cancer: Dataset) -> None:
    own = {"gradient_clipping": True, "gradient_norm": 0.02, "input_noise": 0.7, "dropout": 0.0}
    one, other = begun(cancer, 0), begun(cancer, 1, learning_rate=1e-4, **own)
    together = refine([one, other], SPACE, rounds=3)
    for training, change in zip((one, other), together, strict=True):
        (alone,) = refine([training], SPACE, rounds=3)
        assert change == pytest.approx(alone, rel=1e-3)
    assert refine([one, other], SPACE, rounds=3) == together
    assert {"gradient_norm", "input_noise"} <= together[1].keys() - together[0].keys()
    assert "dropout" not in together[1]  # where there is none, nothing says in which direction
    assert one.epoch == 0


def test_nothing_leaves_the_ranges_of_the_space(cancer: Dataset) -> None:
    narrow = SearchSpace({"learning_rate": Float(1e-4, 2e-4, log=True)})
    (change,) = refine([begun(cancer, learning_rate=1.5e-4)], narrow)
    assert set(change) == {"learning_rate"}
    assert change["learning_rate"] == 2e-4
    assert refine([begun(cancer)], SearchSpace({"dropout": Float(0.0, 0.5)})) == [{}]


def test_test_rows_are_not_looked_at(cancer: Dataset) -> None:
    blank = Split(cancer.test.inputs * math.nan, cancer.test.targets * 0)
    hidden = replace(cancer, test=blank)
    assert refine([begun(hidden)], SPACE, rounds=2) == refine([begun(cancer)], SPACE, rounds=2)


def test_who_asks_is_refined() -> None:
    assert asks_to_be_refined(GOOD)
    assert not asks_to_be_refined({**GOOD, "refine": "none"})
    assert not asks_to_be_refined({})
