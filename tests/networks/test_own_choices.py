"""Losses and schedules beside the common ones, alone and in a population."""

import math
from typing import Any

import pytest
import torch
from configurations import MLP

from metatune.networks.data.loading import load
from metatune.networks.learned import Learned
from metatune.networks.losses import COEFFICIENTS
from metatune.networks.population import Member, Population
from metatune.networks.schedules import POINTS
from metatune.networks.training import Training
from metatune.space import Config

LEARNED = Learned(
    losses={"shops": dict(zip(COEFFICIENTS, (0.1, 0.5, 1.3, 0.4, -0.2, 0.5), strict=True))},
    schedules={"shops": (0.1, 1.0, 0.3)},
)
PLAIN: Config = {
    **MLP, "optimizer": "adam", "beta1": 0.9, "beta2": 0.99, "batch_size": 32,
    "weight_decay": 1e-3, "learning_rate": 3e-3, "gradient_clipping": False,
}  # fmt: skip
COSINE: Config = {"schedule": "cosine", "final_fraction": 0.1}
ONE_CYCLE: Config = {"schedule": "one_cycle", "peak_fraction": 0.3}
PIECEWISE: Config = {"schedule": "piecewise"} | {
    name: 1.0 / (1.0 + number) for number, name in enumerate(POINTS)
}
CASES: dict[str, list[Config]] = {
    "focal": [
        {"focal_gamma": 2.0, **ONE_CYCLE},
        {"focal_gamma": 0.5, "class_weighting": 1.0, **PIECEWISE},
    ],
    "parametric": [
        {"temperature": 1.5, "poly_1": 2.0, **COSINE},
        {"label_smoothing": 0.2, "focal_gamma": 1.0, "poly_2": -0.5, **ONE_CYCLE},
        {"schedule": "shops"},
    ],
    "shops": [{"schedule": "shops"}, {**PIECEWISE}],
}


@pytest.mark.parametrize("loss", CASES)
def test_members_train_as_they_would_alone(loss: str) -> None:
    wine = load("wine")
    kept: dict[str, Any] = {"epochs": 6, "dtype": torch.float64, "learned": LEARNED}
    fused = Population(wine, at_once=8, **kept)
    alone = []
    for number, own in enumerate(CASES[loss]):
        config: Config = {**PLAIN, "loss": loss, **own}
        fused.enter(Member(number, config, number))
        alone.append(Training(config, wine, number, **kept))
    for _ in range(6):
        scores = fused.step()
        for number, training in enumerate(alone):
            for name, value in training.step().items():
                assert math.isclose(scores[number][name], value, abs_tol=1e-10)
