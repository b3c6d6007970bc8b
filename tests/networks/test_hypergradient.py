"""Unrolled training is training, and its derivatives are those of finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from configurations import CNN, MLP, RESNET, TRANSFORMER

from metatune.errors import ConfigurationError
from metatune.networks.architectures.layers import Dropout
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.hypergradients.differentiable import HeldDropout
from metatune.networks.hypergradients.hypergradient import (
    hypergradients,
    plain_losses,
    windows,
)
from metatune.networks.hypergradients.hyperparameters import hyperparameters
from metatune.networks.hypergradients.unrolling import Unrolling
from metatune.networks.training import Training
from metatune.space import Config

RULES: dict[str, Config] = {
    "sgd": {"momentum": 0.8, "nesterov": True, "learning_rate": 0.05},
    "adam": {"beta1": 0.9, "beta2": 0.99, "learning_rate": 1e-2},
}
RULES["adamw"] = RULES["adam"]
SMALL: Config = {**RESNET, "blocks": 1, "channels": 4}
NETWORKS = pytest.mark.parametrize(
    "network", [MLP, CNN, SMALL, TRANSFORMER], ids=lambda c: c["network"]
)
EVERYTHING: Config = {
    "batch_size": 16, "weight_decay": 0.05, "schedule": "cosine", "final_fraction": 0.1,
    "gradient_clipping": True, "gradient_norm": 0.5, "input_noise": 0.2, "layer_rate_ratio": 0.5,
    "initializer": "kaiming", "initializer_gain": 0.9,
}  # fmt: skip
COEFFICIENTS: Config = {
    "loss": "parametric", "label_smoothing": 0.1, "focal_gamma": 1.5, "temperature": 1.3,
    "poly_1": 0.5, "poly_2": 0.3, "class_weighting": 0.4,
}  # fmt: skip
STEPS = 3


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return _few(load("digits"))


@pytest.fixture(scope="module")
def diabetes() -> Dataset:
    return _few(load("diabetes"))


def _few(whole: Dataset) -> Dataset:
    train, validation = (
        Split(split.inputs[:rows], split.targets[:rows])
        for split, rows in ((whole.train, 64), (whole.validation, 32))
    )
    return replace(whole, train=train, validation=validation)


def training(dataset: Dataset, config: Config, seed: int = 5) -> Training:
    return Training(config, dataset, seed, 3, 1, torch.float64)


def disagreements(dataset: Dataset, config: Config, names: list[str]) -> dict[str, float]:
    """By how much the hypergradient differs from the nearest of central finite differences of
    several widths, relatively. All differences are between members of one population."""
    widths = (1e-3, 1e-4, 1e-6, 1e-8)
    places = [(name, width) for name in names for width in widths]
    unrolling = Unrolling([training(dataset, config) for _ in range(2 * len(places))])
    values = {name: unrolling.values(name) for name in names}
    for index, (name, width) in enumerate(places):
        values[name][2 * index] *= 1 + width
        values[name][2 * index + 1] *= 1 - width
    losses = plain_losses(unrolling, values, STEPS)
    exact = hypergradients([training(dataset, config)], names, STEPS)
    found = dict.fromkeys(names, math.inf)
    for index, (name, width) in enumerate(places):
        rise = float(losses[2 * index] - losses[2 * index + 1])
        gradient = float(exact.gradients[name][0])
        slope = rise / (2 * width * float(unrolling.values(name)[0]))
        assert gradient != 0.0, name
        found[name] = min(found[name], abs(slope - gradient) / abs(gradient))
    return found


@pytest.mark.parametrize("rule", RULES)
@NETWORKS
def test_hypergradients_are_those_of_finite_differences(
    digits: Dataset, network: Config, rule: str
) -> None:
    config = {**network, **EVERYTHING, "loss": "cross_entropy", "label_smoothing": 0.1}
    config |= {"optimizer": rule, **RULES[rule]}
    if network is SMALL:  # of many layers there is always a unit near the kink of relu
        config["activation"] = "silu"
    names = list(hyperparameters(training(digits, config)))
    own = {"momentum"} if rule == "sgd" else {"beta1", "beta2"}
    assert set(names) == own | {
        "learning_rate", "layer_rate_ratio", "weight_decay", "gradient_norm", "initializer_gain",
        "dropout", "input_noise", "label_smoothing",
    }  # fmt: skip
    for name, off in disagreements(digits, config, names).items():
        assert off < 1e-4, (name, off)


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        ({**COEFFICIENTS, "optimizer": "sgd", **RULES["sgd"]}, list(COEFFICIENTS)[1:]),
        ({"loss": "huber", "huber_delta": 0.7}, ["huber_delta"]),
        ({"loss": "cross_entropy", "label_smoothing": 0.1, "initializer": "lsuv"},
         ["initializer_gain"]),
        ({"loss": "cross_entropy", "label_smoothing": 0.1, "schedule": "hypergradient",
          "hypergradient_rate": 0.2}, ["learning_rate", "weight_decay"]),
    ],
    ids=["parametric", "huber", "lsuv", "online"],
)  # fmt: skip
def test_so_are_those_of_every_loss_and_of_special_cases(
    digits: Dataset, diabetes: Dataset, loss: Config, names: list[str]
) -> None:
    config = {**MLP, **EVERYTHING, "optimizer": "adamw", **RULES["adamw"], **loss}
    if loss.get("optimizer") == "sgd":
        del config["beta1"], config["beta2"]
    if config["schedule"] != "cosine":
        del config["final_fraction"]
    dataset = diabetes if loss["loss"] == "huber" else digits
    for name, off in disagreements(dataset, config, names).items():
        assert off < 1e-4, (name, off)


@pytest.mark.parametrize("rule", RULES)
@NETWORKS
def test_unrolled_training_is_training(digits: Dataset, network: Config, rule: str) -> None:
    config = {**network, **EVERYTHING, "loss": "cross_entropy", "label_smoothing": 0.1}
    config |= {"optimizer": rule, **RULES[rule]}
    other = {**config, "gradient_clipping": False, "dropout": 0.0, "schedule": "hypergradient",
             "hypergradient_rate": 0.1}  # fmt: skip
    del other["gradient_norm"], other["final_fraction"]
    trainings = [training(digits, config, 1), training(digits, other, 2)]
    unrolling = Unrolling(trainings)
    first, second = (plain_losses(unrolling, {}, unrolling.batches * n) for n in (1, 2))
    for index, alone in enumerate(trainings):
        curve = alone.fit(2)
        # Adam multiplies the rounding of a gradient that is zero by up to 1e8.
        assert float(first[index]) == pytest.approx(curve[0]["validation_loss"], abs=1e-6)
        assert float(second[index]) == pytest.approx(curve[1]["validation_loss"], abs=1e-6)


@pytest.mark.parametrize("network", [MLP, SMALL], ids=lambda c: c["network"])
def test_forward_and_reverse_agree(digits: Dataset, network: Config) -> None:
    config = {**network, **EVERYTHING, "loss": "cross_entropy", "label_smoothing": 0.1}
    config |= {"optimizer": "adam", **RULES["adam"]}
    trainings = [training(digits, config, seed) for seed in (1, 2)]
    names = ["learning_rate", "initializer_gain"]
    backward = hypergradients(trainings, names, 4)
    onward = hypergradients(trainings, names, 4, mode="forward")
    assert torch.allclose(backward.losses, onward.losses, rtol=1e-12)
    for name in names:
        assert torch.allclose(backward.gradients[name], onward.gradients[name], rtol=1e-9), name


def test_truncation_counts_what_happens_in_the_last_window(digits: Dataset) -> None:
    config = {**MLP, **EVERYTHING, "loss": "cross_entropy", "label_smoothing": 0.1}
    config |= {"optimizer": "sgd", **RULES["sgd"]}
    trainings = [training(digits, config)]
    unrolling = Unrolling(trainings)
    values = {name: unrolling.values(name) for name in ("learning_rate", "initializer_gain")}
    found = list(windows(unrolling, values, 7, 3))
    assert len(found) == 3
    whole = hypergradients(trainings, list(values), 7)
    assert torch.allclose(found[-1].losses, whole.losses, rtol=1e-12)
    assert float(found[-1].gradients["initializer_gain"]) == 0.0  # long before
    assert float(found[0].gradients["initializer_gain"]) != 0.0
    last = hypergradients(trainings, list(values), 7, truncation=3)
    assert torch.equal(last.gradients["learning_rate"], found[-1].gradients["learning_rate"])


def test_a_member_that_diverges_is_alone_in_it(digits: Dataset) -> None:
    config = {**MLP, **EVERYTHING, "loss": "cross_entropy", "label_smoothing": 0.1}
    config |= {"optimizer": "sgd", **RULES["sgd"], "gradient_clipping": False}
    del config["gradient_norm"]
    wild = {**config, "learning_rate": 1e200}
    both = hypergradients([training(digits, c) for c in (config, wild)], ["learning_rate"], 4)
    alone = hypergradients([training(digits, config)], ["learning_rate"], 4)
    assert torch.allclose(both.gradients["learning_rate"][:1], alone.gradients["learning_rate"])
    assert not math.isfinite(float(both.losses[1]))


def test_the_gradient_of_dropout_is_that_of_the_mean_over_masks() -> None:
    """Of a linear model's mean squared error: that is (a - b)² + p / (1 - p) times a constant."""
    rate, count = 0.3, 20_000
    generator = torch.Generator().manual_seed(0)
    inputs, weights = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    dropout = HeldDropout(Dropout(rate, (4,)))
    dropout.rate = dropout.rate.double()
    dropout.uniforms = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    now = torch.tensor(rate, dtype=torch.float64, requires_grad=True)
    dropout.relative = (now * (1 - rate) / (rate * (1 - now))).sqrt()
    loss = ((dropout(inputs.expand(count, 4)) @ weights - 1.0) ** 2).mean()
    (gradient,) = torch.autograd.grad(loss, now)
    expected = float(((inputs * weights) ** 2).sum()) / (1 - rate) ** 2
    assert float(gradient) == pytest.approx(expected, rel=0.05)


def test_weights_without_gradients_do_no_harm(digits: Dataset) -> None:
    """Pixels that are the same in all images have gradients of exactly 0 where they are 0."""
    split = replace(digits.train, inputs=digits.train.inputs * 0.0)
    config = {**MLP, **EVERYTHING, "loss": "cross_entropy", "label_smoothing": 0.1,
              "optimizer": "adam", **RULES["adam"], "weight_decay": 0.0, "input_noise": 0.0,
              "normalization": "none"}  # fmt: skip
    dark = replace(digits, train=split)
    names = ["learning_rate", "beta2", "initializer_gain"]
    found = hypergradients([training(dark, config)], names, 3)
    assert all(bool(gradient.isfinite().all()) for gradient in found.gradients.values())


def test_a_rule_of_the_users_has_no_hypergradients(digits: Dataset) -> None:
    config = {**MLP, **EVERYTHING, "loss": "cross_entropy", "label_smoothing": 0.1}
    one = training(digits, {**config, "optimizer": "sgd", **RULES["sgd"]})
    one.rule = replace(one.rule, name="package:rule", own=object())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="optimizer = 'package:rule' is a function"):
        Unrolling([one])
