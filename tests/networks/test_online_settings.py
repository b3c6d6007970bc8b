"""Settings that are optional: rates by layer, noise on inputs, and the online schedule."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from configurations import CNN, MLP, RESNET, TRANSFORMER, network
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.errors import ConfigurationError
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.layer_rates import depth_shares, runs
from metatune.networks.online_rate import OnlineRate
from metatune.networks.population import Member, Population
from metatune.networks.training import Training
from metatune.networks.uniforms import normals, stream
from metatune.space import Config

EPOCHS = 4
RULES: dict[str, Config] = {
    "sgd": {"momentum": 0.9, "nesterov": True, "learning_rate": 0.02},
    "adam": {"beta1": 0.9, "beta2": 0.999, "learning_rate": 1e-3},
}
RULES["adamw"] = RULES["adam"]
SHARED: Config = {"batch_size": 32, "loss": "cross_entropy", "weight_decay": 0.01}
PLAIN: Config = {"schedule": "constant", "gradient_clipping": False, "label_smoothing": 0.0}
# What members of one population may differ in.
OPTIONS: list[Config] = [
    {},
    {"layer_rate_ratio": 0.2},
    {"input_noise": 0.3, "gradient_clipping": True, "gradient_norm": 0.5},
    {"schedule": "hypergradient", "hypergradient_rate": 0.1},
    {"schedule": "hypergradient", "hypergradient_rate": 0.02, "layer_rate_ratio": 5.0,
     "input_noise": 0.1, "refine": "hypergradient"},
]  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    whole = load("digits")
    train, validation = (
        Split(split.inputs[:128], split.targets[:128]) for split in (whole.train, whole.validation)
    )
    return replace(whole, train=train, validation=validation)


def members(architecture: Config, rule: str) -> list[Member]:
    shared = {**architecture, **SHARED, "optimizer": rule, **RULES[rule], **PLAIN}
    return [Member(n, {**shared, **own}, n) for n, own in enumerate(OPTIONS)]


def population(dataset: Dataset, entered: list[Member], at_once: int = 64) -> Population:
    made = Population(dataset, epochs=EPOCHS, dtype=torch.float64, at_once=at_once)
    for member in entered:
        made.enter(member)
    return made


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "architecture", [MLP, CNN, RESNET, TRANSFORMER], ids=lambda c: c["network"]
)
def test_members_with_options_train_as_they_would_alone(
    digits: Dataset, architecture: Config, rule: str
) -> None:
    trained = members(architecture, rule)
    fused = population(digits, trained)
    alone = [Training(m.config, digits, m.seed, EPOCHS, 1, torch.float64) for m in trained]
    for _ in range(2):
        scores = fused.step()
        for member, training in zip(trained, alone, strict=True):
            own = training.step()
            for name in ("train_loss", "validation_loss"):
                assert scores[member.number][name] == pytest.approx(own[name], abs=1e-10)


@pytest.mark.parametrize("options", OPTIONS)
def test_one_at_a_time_is_the_plain_loop_to_the_bit(digits: Dataset, options: Config) -> None:
    member = members(MLP, "adamw")[0]
    member = replace(member, config={**member.config, **options})
    single = Population(digits, epochs=EPOCHS, at_once=1)
    single.enter(member)
    alone = Training(member.config, digits, member.seed, EPOCHS)
    for _ in range(3):
        assert single.step()[0] == alone.step()


def test_an_option_that_is_absent_is_one_that_changes_nothing(digits: Dataset) -> None:
    config = members(MLP, "adamw")[0].config
    without = Training(config, digits, epochs=EPOCHS).fit(2)
    nothings: list[Config] = [
        {"layer_rate_ratio": 1.0},
        {"input_noise": 0.0},
        {"refine": "none"},
        {"refine": "hypergradient"},
        {"schedule": "hypergradient", "hypergradient_rate": 0.0},
    ]
    for nothing in nothings:
        assert Training({**config, **nothing}, digits, epochs=EPOCHS).fit(2) == without
    for something in OPTIONS[1:]:
        assert Training({**config, **something}, digits, epochs=EPOCHS).fit(2) != without


@pytest.mark.parametrize("options", OPTIONS[1:])
def test_a_training_with_options_goes_on_as_if_it_had_not_stopped(
    digits: Dataset, tmp_path: Path, options: Config
) -> None:
    config = {**members(MLP, "adam")[0].config, **options}
    whole = Training(config, digits, epochs=EPOCHS)
    curve = whole.fit()
    part = Training(config, digits, epochs=EPOCHS)
    part.fit(2)
    part.save(tmp_path)
    again = Training(config, digits, epochs=EPOCHS)
    again.load(tmp_path)
    assert again.fit() == curve[2:]


def test_populations_with_options_go_on_and_change_members(digits: Dataset, tmp_path: Path) -> None:
    trained = members(MLP, "adamw")
    whole = population(digits, trained)
    expected = [whole.step() for _ in range(3)]
    part = population(digits, trained[:4])
    part.step()
    part.save(tmp_path)
    again = population(digits, [])
    for number in (0, 3, 2):  # the first has no online schedule, the second has
        again.resume(trained[number], tmp_path)
    again.enter(trained[4])
    again.leave(2)
    for epoch in (1, 2):
        scores = again.step()
        for number in (0, 3):
            assert scores[number]["validation_loss"] == pytest.approx(
                expected[epoch][number]["validation_loss"], abs=1e-10
            )
    assert scores[4]["validation_loss"] == pytest.approx(
        expected[1][4]["validation_loss"], abs=1e-10
    )


def test_the_online_schedule_raises_a_rate_far_too_small_and_lowers_one_too_large(
    digits: Dataset,
) -> None:
    config = {**members(MLP, "sgd")[0].config, "schedule": "hypergradient",
              "hypergradient_rate": 0.05, "momentum": 0.0, "nesterov": False}  # fmt: skip
    for start, raised in ((1e-4, True), (3.0, False)):
        training = Training({**config, "learning_rate": start}, digits, epochs=EPOCHS)
        training.fit()
        assert training.online is not None
        assert (float(training.online.multipliers) > 1.0) is raised


@settings(deadline=None, max_examples=30)
@given(st.floats(0.0, 0.9), st.integers(0, 99))
def test_rates_move_by_the_cosine_of_gradient_and_last_way(moves: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights, after, gradients = torch.randn(3, 2, 5, generator=generator, dtype=torch.float64)
    ones = torch.ones(2, 1, dtype=torch.float64)
    online = OnlineRate(ones * moves, ones.clone(), weights.clone())
    online.adapt(weights, gradients)  # no way yet
    assert torch.equal(online.multipliers, ones)
    online.adapt(after, gradients)
    cosines = torch.cosine_similarity(weights - after, gradients)
    assert torch.allclose(online.multipliers[:, 0], 1.0 + moves * cosines)
    online.adapt(after, torch.zeros_like(gradients))
    assert torch.allclose(online.multipliers[:, 0], 1.0 + moves * cosines)


@pytest.mark.parametrize(
    "architecture", [MLP, CNN, RESNET, TRANSFORMER], ids=lambda c: c["network"]
)
def test_rates_go_geometrically_from_the_first_layer_to_the_last(architecture: Config) -> None:
    built = network(architecture, (1, 8, 8))
    shares = list(depth_shares(built).values())
    assert list(depth_shares(built)) == [name for name, _ in built.named_parameters()]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], shares[-1]) == (1.0, 0.0)
    found = runs(built, 0.01)
    assert [name for run in found for name in run.names] == list(depth_shares(built))
    assert math.isclose(found[0].multiplier, 0.01)
    assert found[-1].multiplier == 1.0
    steps = [b.multiplier / a.multiplier for a, b in pairwise(found)]
    assert all(math.isclose(step, steps[0]) for step in steps)
    assert [run.multiplier for run in runs(built, 1.0)] == [1.0]


def test_noise_is_standard_normal_and_keyed() -> None:
    (numbers,) = normals(torch.stack([stream(1), stream(2)]), (200, 100), 1)
    assert numbers.shape == (2, 200, 100)
    assert abs(float(numbers.mean())) < 0.02
    assert abs(float(numbers.std()) - 1.0) < 0.02
    assert bool(numbers.isfinite().all())
    (alone,) = normals(stream(2)[None], (200, 100), 1)
    assert torch.equal(alone[0], numbers[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_rate_ratio": 0.0}, "layer_rate_ratio = 0.0 must be a finite number in"),
        ({"input_noise": -1.0}, "input_noise = -1.0 must be"),
        ({"refine": "both"}, "refine = 'both' must be one of"),
        ({"hypergradient_rate": 0.1}, "hypergradient_rate = 0.1 is misspelled or has no meaning"),
        ({"schedule": "hypergradient"}, "hypergradient_rate is missing"),
        ({"schedule": "hypergradient", "hypergradient_rate": 1.0}, "hypergradient_rate = 1.0"),
    ],
)
def test_wrong_options_are_named(digits: Dataset, options: Config, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Training({**members(MLP, "sgd")[0].config, **options}, digits)
