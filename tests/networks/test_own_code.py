"""Functions of the user's in place of the built-in ones."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from metatune.errors import ConfigurationError
from metatune.networks.data.loading import load
from metatune.networks.own_code import own_names
from metatune.networks.population import Member, Population, shared_settings
from metatune.networks.training import Training
from metatune.space import Config

OWN: Config = {
    "network": "own_functions:network", "my_width": 12, "loss": "own_functions:loss",
    "optimizer": "own_functions:update", "batch_size": 32, "learning_rate": 0.05, "friction": 0.9,
    "margin": 1.0, "schedule": "constant", "initializer": "default", "gradient_clipping": False,
}  # fmt: skip
KEPT: dict[str, Any] = {"epochs": 5, "dtype": torch.float64}


def members(config: Config) -> list[Member]:
    clipped: Config = {"gradient_clipping": True, "gradient_norm": 0.1, "friction": 0.5}
    return [
        Member(0, config, 5),
        Member(1, {**config, "margin": 0.5, "slope": 2.0, "learning_rate": 0.02}, 6),
        Member(2, {**config, **clipped}, 7),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"predict": "own_functions:predict"},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0},
    ],
    ids=["all", "predict", "network and loss"],
)
def test_members_train_as_they_would_alone(changed: Config) -> None:
    wine, config = load("wine"), {**OWN, **changed}
    if "momentum" in changed:
        del config["friction"]
    trained = members(config)
    if "momentum" in changed:
        trained = trained[:2]
    fused = Population(wine, at_once=8, **KEPT)
    alone = [Training(m.config, wine, m.seed, **KEPT) for m in trained]
    for member in trained:
        fused.enter(member)
    for _ in range(5):
        scores = fused.step()
        for member, training in zip(trained, alone, strict=True):
            for name, value in training.step().items():
                assert math.isclose(scores[member.number][name], value, abs_tol=1e-10)
    assert fused.at_once == 8
    assert scores[0]["validation_loss"] < math.log(3)


def test_settings_of_own_functions_differ_between_members() -> None:
    shared = shared_settings(OWN)
    assert {"my_width", "network", "loss", "optimizer"} < shared.keys()
    assert not {"friction", "margin", "learning_rate"} & shared.keys()
    assert own_names(OWN) == [OWN["network"], OWN["loss"], OWN["optimizer"]]


@pytest.mark.parametrize("at_once", [None, 8])
def test_what_looks_at_values_is_computed_alone_and_the_reason_is_said(
    at_once: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    wine, config = load("wine"), {**OWN, "network": "own_functions:branching"}
    fused = Population(wine, at_once=at_once, **KEPT)
    trained = members(config)
    for member in trained:
        fused.enter(member)
    with caplog.at_level(logging.WARNING):
        scores = fused.step()
    assert fused.at_once == 1
    assert "each network is computed by itself" in caplog.text
    assert "own_functions:branching" in caplog.text
    for member in trained:
        alone = Training(member.config, wine, member.seed, **KEPT).step()
        assert scores[member.number]["train_loss"] == pytest.approx(alone["train_loss"], abs=1e-12)


def test_a_training_resumes_with_the_state_of_an_own_rule(tmp_path: Path) -> None:
    wine = load("wine")
    whole = Training(OWN, wine, 1, 4)
    expected = whole.fit()
    cut = Training(OWN, wine, 1, 4)
    cut.fit(2)
    cut.save(tmp_path)
    again = Training(OWN, wine, 1, 4)
    again.load(tmp_path)
    assert again.fit() == expected[2:]


def test_what_a_network_draws_follows_from_the_seed() -> None:
    wine = load("wine")
    before = torch.random.get_rng_state()
    one, same, other = (Training(OWN, wine, seed).network.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one["share"], same["share"])
    assert not torch.equal(one["share"], other["share"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": "own_functions:dropping"}, r"network = .*Dropout.*'0' is Dropout"),
        ({"network": "own_functions:nothing"}, r"returns a torch.nn.Module, not NoneType"),
        ({"network": "own_functions:absent"}, r"network = .*own_functions has no 'absent'"),
        ({"loss": "no_such_module:loss"}, r"loss = .*importing no_such_module failed"),
        ({"loss": "own_functions:loss", "margin": "wide"}, r"margin = 'wide' must be a number"),
        ({"optimizer": "own_functions:predict"}, r"optimizer = .*at least 4 arguments, not 2"),
        ({"network": "own_functions:frozen"}, r"whose weights all train, and stand in it once"),
        ({"network": "own_functions:recurrent"}, r"network = .*is LSTM"),
        ({"loss": "own_functions:unnamed"}, r"'numbers' is the name of a number"),
        ({"unknown": 1}, r"unknown = 1 is misspelled"),
    ],
)
def test_what_cannot_be_used_is_said(changed: Config, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Training({**OWN, **changed}, load("wine"))


def test_a_state_may_be_the_weight_before() -> None:
    config: Config = {**OWN, "optimizer": "own_functions:heavy_ball"}
    del config["friction"]
    training = Training(config, load("wine"), 1, 2)
    before = {name: weight.clone() for name, weight in training.network.named_parameters()}
    training.epoch = 1
    training.train(1)
    for name in before:
        assert torch.equal(training.update.states["state_0"][name], before[name])


def test_a_network_that_reads_what_members_differ_in_is_refused_in_a_population() -> None:
    config: Config = {**OWN, "network": "own_functions:warm", "temperature": 2.0}
    del config["my_width"]
    with pytest.raises(ConfigurationError, match=r"reads \['temperature'\].*names of its own"):
        Population(load("wine"), **KEPT).enter(Member(0, config, 1))
