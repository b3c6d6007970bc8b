"""GradInit, learned initializations and inherited weights, in trainings alone and in populations;
and the architectures that are asked for by optional settings."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
import torch
from configurations import CNN, MLP, RESNET, TRANSFORMER

from metatune.errors import ConfigurationError
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.gradinit import learn_scales
from metatune.networks.inheritance import is_of_task, weights_by_place
from metatune.networks.initializers import SCALES
from metatune.networks.learned import Learned
from metatune.networks.meta_initialization import METHODS, MetaTask, Method, learn_initialization
from metatune.networks.population import Member, Population, shared_settings
from metatune.networks.training import Training
from metatune.space import Config

RECIPE: Config = {
    "optimizer": "adam", "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "learning_rate": 1e-3,
    "gradient_clipping": False, "schedule": "constant", "batch_size": 32,
}  # fmt: skip
CLASSES: Config = {"loss": "cross_entropy", "label_smoothing": 0.0}
PLAIN: Config = {
    "network": "mlp", "depth": 2, "width": 16, "activation": "relu", "normalization": "none",
    "dropout": 0.0, "initializer": "default",
}  # fmt: skip
OPTIONS: dict[str, Config] = {
    "mlp": {**MLP, "skip": "residual", "normalization": "rms", "activation": "mish"},
    "mlp-batch": {**MLP, "skip": "residual", "activation": "leaky_relu"},
    "cnn": {**CNN, "skip": "residual", "normalization": "layer"},
    "resnet": {**RESNET, "activation_position": "post", "kernel": 5},
    "transformer": {**TRANSFORMER, "normalization_type": "rms", "feedforward_gate": "linear"},
}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    whole = load("digits")
    train, validation = (
        Split(split.inputs[:128], split.targets[:128]) for split in (whole.train, whole.validation)
    )
    return replace(whole, train=train, validation=validation)


@pytest.fixture(scope="module")
def iris() -> Dataset:
    return load("iris")


def trainings(dataset: Dataset, members: list[Member], **kwargs: Any) -> list[Training]:
    return [
        Training(m.config, dataset, m.seed, 4, 1, torch.float64, parent=m.parent, **kwargs)
        for m in members
    ]


def assert_as_alone(dataset: Dataset, members: list[Member], **kwargs: Any) -> None:
    fused = Population(dataset, epochs=4, dtype=torch.float64, at_once=8, **kwargs)
    for member in members:
        fused.enter(member)
    alone = trainings(dataset, members, **kwargs)
    for _ in range(4):
        scores = fused.step()
        for member, training in zip(members, alone, strict=True):
            own = training.step()
            for name in ("train_loss", "validation_loss"):
                assert abs(scores[member.number][name] - own[name]) <= 1e-10


@pytest.mark.parametrize("name", OPTIONS)
def test_optional_architectures_train_in_populations_as_alone(digits: Dataset, name: str) -> None:
    shared = {**OPTIONS[name], **RECIPE, **CLASSES}
    configs = [shared, {**shared, "dropout": 0.1, "learning_rate": 3e-3}]
    assert_as_alone(digits, [Member(n, c, n) for n, c in enumerate(configs)])


@pytest.mark.parametrize(
    ("config", "setting", "default"),
    [
        (MLP, "skip", "none"),
        (CNN, "skip", "none"),
        (RESNET, "kernel", 3),
        (RESNET, "activation_position", "pre"),
        (TRANSFORMER, "normalization_type", "layer"),
        (TRANSFORMER, "feedforward_gate", "none"),
        (MLP, "inherit", "none"),
    ],
)
def test_what_is_absent_is_the_default_to_the_bit(
    digits: Dataset, config: Config, setting: str, default: Any
) -> None:
    without = {**config, **RECIPE, **CLASSES}
    assert Training(without, digits, 1).step() == (
        Training({**without, setting: default}, digits, 1).step()
    )


def test_members_may_begin_differently_and_train_as_alone(digits: Dataset) -> None:
    shared = {**PLAIN, **RECIPE, **CLASSES}
    task = MetaTask(digits, shared, 4)
    weights = learn_initialization([task], rounds=2, updates=3)
    known = {f"mlp/{name}": tensor for name, tensor in weights.items()}
    parent = weights_by_place(Training({**shared, "width": 24}, digits, 7).network)
    members = [
        Member(0, shared, 0),
        Member(1, {**shared, "initializer": "learned"}, 1),
        Member(2, {**shared, "initializer": "gradinit"}, 2),
        Member(3, {**shared, "inherit": "best"}, 3, parent),
        Member(4, {**shared, "inherit": "best"}, 4),
    ]
    assert len({tuple(shared_settings(member.config).items()) for member in members}) == 1
    assert_as_alone(digits, members, learned=Learned(initializations={"learned": known}))


def test_a_member_gives_its_weights_by_place_as_a_network_alone_does(digits: Dataset) -> None:
    config = {**MLP, **RECIPE, **CLASSES}
    fused = Population(digits, epochs=4, dtype=torch.float64, at_once=4)
    for number in range(2):
        fused.enter(Member(number, config, number))
    fused.step()
    alone = Training(config, digits, 1, 4, 1, torch.float64)
    alone.step()
    expected = weights_by_place(alone.network)
    found = fused.weights_by_place(1)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-10)


def test_only_a_trial_that_inherits_begins_from_a_parent(iris: Dataset) -> None:
    config = {**PLAIN, **RECIPE, **CLASSES}
    parent = weights_by_place(Training(config, iris, 7).network)
    began = weights_by_place(
        Training({**config, "inherit": "best"}, iris, 1, parent=parent).network
    )
    assert all(torch.equal(began[name], parent[name]) for name in parent)
    other = weights_by_place(
        Training({**config, "inherit": "none"}, iris, 1, parent=parent).network
    )
    assert not torch.equal(other["hidden.1.weight"], parent["hidden.1.weight"])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_gradinit_lowers_the_loss_after_a_first_step(digits: Dataset, optimizer: str) -> None:
    rule: Config = {"momentum": 0.0, "nesterov": False} if optimizer == "sgd" else {}
    recipe = {k: v for k, v in RECIPE.items() if k not in ("beta1", "beta2") or not rule}
    config = {**PLAIN, **recipe, **CLASSES, **rule, "optimizer": optimizer, "depth": 4}
    config |= {"learning_rate": 0.1 if rule else 3e-3}
    losses: dict[str, list[float]] = {"kaiming": [], "gradinit": []}
    for name, values in losses.items():
        gain: Config = {"initializer_gain": 1.0} if name == "kaiming" else {}
        for seed in range(5):
            training = Training({**config, "initializer": name, **gain}, digits, seed)
            training.epoch = 1
            training.train(1)
            with torch.no_grad():
                outputs = training.network(digits.train.inputs)
                values.append(float(training.loss(outputs, digits.train.targets)))
    assert median(losses["gradinit"]) < median(losses["kaiming"])


@pytest.mark.parametrize("config", [MLP, CNN, RESNET, TRANSFORMER], ids=lambda c: c["network"])
def test_gradinit_only_scales_and_is_the_same_again(digits: Dataset, config: Config) -> None:
    shared = {**config, **RECIPE, **CLASSES}
    drawn = Training({**shared, "initializer": "kaiming", "initializer_gain": 1.0}, digits, 3)
    state = torch.get_rng_state()
    scaled, again = (
        Training({**shared, "initializer": "gradinit"}, digits, 3).network.state_dict()
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    moved = 0
    for name, tensor in drawn.network.state_dict().items():
        assert torch.equal(scaled[name], again[name])
        if tensor.is_floating_point() and tensor.any() and "running" not in name:
            ratio = scaled[name][tensor != 0] / tensor[tensor != 0]
            assert float(ratio.min()) > 0
            assert float(ratio.max()) == pytest.approx(float(ratio.min()), rel=1e-4)
            moved += abs(float(ratio.mean()) - 1.0) > 0.01
    assert moved


def test_gradinit_leaves_out_a_step_whose_loss_is_not_finite(iris: Dataset) -> None:
    training = Training({**PLAIN, **RECIPE, **CLASSES}, iris, 0)
    before = [p.detach().clone() for p in training.network.parameters()]
    batch = (torch.full((4, 4), math.inf), torch.zeros(4, dtype=torch.int64))
    learn_scales(training.network, training.loss, 0.1, False, [batch, batch])
    for parameter, kept in zip(training.network.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)


def meta_tasks(names: tuple[str, ...], config: Config, epochs: int) -> list[MetaTask]:
    tasks = []
    for name in names:
        dataset = load(name)
        loss = CLASSES if dataset.kind == "classification" else {"loss": "mse"}
        tasks.append(MetaTask(dataset, {**config, **RECIPE, **loss}, epochs))
    return tasks


@pytest.mark.parametrize("method", METHODS)
def test_a_learned_trunk_serves_other_tasks_and_other_widths(method: Method) -> None:
    config = {**PLAIN, "depth": 3}
    tasks = meta_tasks(("wine", "diabetes"), config, 9)
    weights = learn_initialization(tasks, method, rounds=15, updates=10)
    again = learn_initialization(tasks, method, rounds=15, updates=10)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    trunk = {name for name in weights if not name.startswith(SCALES)}
    assert trunk == {"hidden.1.weight", "hidden.1.bias", "hidden.2.weight", "hidden.2.bias"}
    assert not any(map(is_of_task, trunk))
    (left_out,) = meta_tasks(("iris",), config, 9)
    began = weights_by_place(left_out.training(0, weights).network)
    assert torch.equal(began["hidden.2.weight"], weights["hidden.2.weight"])
    fits = []
    for seed in range(3):
        learned, default = (left_out.training(seed, w).fit() for w in (weights, None))
        fits.append(learned[-1]["validation_loss"] - default[-1]["validation_loss"])
    assert median(fits) < 0  # it learns faster
    narrow = MetaTask(left_out.dataset, {**left_out.config, "width": 9}, 9)
    sliced = weights_by_place(narrow.training(0, weights).network)
    assert torch.equal(sliced["hidden.1.weight"], weights["hidden.1.weight"][:9, :9])


def test_learning_goes_on_where_a_task_diverges() -> None:
    tasks = meta_tasks(("iris",), PLAIN, 3)
    tasks.append(MetaTask(tasks[0].dataset, {**tasks[0].config, "learning_rate": 1e30}, 3))
    for method in METHODS:
        weights = learn_initialization(tasks, method, rounds=3, updates=4)
        assert all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_a_network_that_nothing_was_learned_for_is_refused(iris: Dataset) -> None:
    config = {**PLAIN, **RECIPE, **CLASSES, "initializer": "learned"}
    for known in ({}, {"cnn/hidden.1.weight": torch.ones(3, 3)}):
        learned = Learned(initializations={"learned": known})
        with pytest.raises(ConfigurationError, match=r"'learned' must be .*learn --initialization"):
            Training(config, iris, learned=learned)
