import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from metatune.errors import ConfigurationError
from metatune.networks.data.loading import load
from metatune.networks.learned import Learned
from metatune.networks.losses import (
    COEFFICIENTS,
    cross_entropy,
    huber,
    loss,
    losses_for,
    mse,
    parametric,
)
from metatune.networks.settings import Settings

IRIS, DIABETES, WINE = load("iris"), load("diabetes"), load("wine")
SEEDS = st.integers(0, 2**32 - 1)


def _normal(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@settings(deadline=None)  # the first call may be slow
@given(SEEDS, st.integers(1, 20), st.integers(2, 7), st.floats(0, 1))
def test_cross_entropy_is_that_of_torch(seed: int, rows: int, count: int, smoothing: float) -> None:
    logits = _normal(seed, rows, count)
    classes = (_normal(seed + 1, rows) * 100).long() % count
    ours = cross_entropy(logits, classes, (smoothing,))
    theirs = functional.cross_entropy(logits, classes, label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(cross_entropy(logits, classes, torch.tensor([smoothing])), ours)


@settings(deadline=None)  # the first call may be slow
@given(SEEDS, st.integers(1, 20), st.integers(1, 3), st.floats(0.01, 10))
def test_mse_and_huber_are_those_of_torch(seed: int, rows: int, count: int, delta: float) -> None:
    outputs, targets = _normal(seed, rows, count) * 3, _normal(seed + 1, rows, count)
    torch.testing.assert_close(mse(outputs, targets), functional.mse_loss(outputs, targets))
    theirs = functional.huber_loss(outputs, targets, delta=delta)
    torch.testing.assert_close(huber(outputs, targets, (delta,)), theirs)
    torch.testing.assert_close(huber(outputs, targets, torch.tensor([delta]).double()), theirs)


@pytest.mark.parametrize("name", ["cross_entropy", "parametric", "mse", "huber"])
def test_many_networks_have_the_losses_that_each_has(name: str) -> None:
    outputs, values = _normal(0, 4, 6, 3), (_normal(1, 4, 6) * 100).long() % 3
    functions = {"cross_entropy": cross_entropy, "parametric": parametric(WINE)}
    function = {**functions, "mse": mse, "huber": huber}[name]
    count = {"cross_entropy": 1, "parametric": len(COEFFICIENTS), "mse": 0, "huber": 1}[name]
    parameters = torch.sigmoid(_normal(2, 4, count))
    targets = values if name in functions else _normal(3, 4, 6, 3)
    together = function(outputs, targets, parameters[:, :, None, None].unbind(1))
    for row in range(4):
        alone = function(outputs[row], targets[row], parameters[row].tolist())
        torch.testing.assert_close(together[row], alone)


def test_a_loss_that_does_not_fit_the_task_is_refused() -> None:
    assert losses_for("classification") == ("cross_entropy", "focal", "parametric")
    assert losses_for("regression") == ("mse", "huber")
    with pytest.raises(ConfigurationError, match=r"loss = 'mse' must be .*cross_entropy.*classif"):
        loss(Settings({"loss": "mse"}), IRIS)
    with pytest.raises(ConfigurationError, match=r"loss = 'focal' must be .*mse.*regression"):
        loss(Settings({"loss": "focal", "focal_gamma": 2.0}), DIABETES)


def test_settings_choose_the_loss() -> None:
    outputs, targets = _normal(0, 5, 1), _normal(1, 5, 1)
    chosen = loss(Settings({"loss": "huber", "huber_delta": 0.5}), DIABETES)
    assert chosen(outputs, targets) == huber(outputs, targets, (0.5,))
    assert loss(Settings({"loss": "mse"}), DIABETES)(outputs, targets) == mse(outputs, targets)


NEUTRAL = tuple(neutral for _, _, neutral in COEFFICIENTS.values())


@settings(deadline=None)  # the first call may be slow
@given(SEEDS, st.integers(1, 20), st.floats(0, 1))
def test_the_parametric_loss_is_cross_entropy_at_neutral_coefficients(
    seed: int, rows: int, smoothing: float
) -> None:
    logits = _normal(seed, rows, 3)
    classes = (_normal(seed + 1, rows) * 100).long() % 3
    ours = parametric(WINE)(logits, classes, (smoothing, *NEUTRAL[1:]))
    torch.testing.assert_close(ours, cross_entropy(logits, classes, (smoothing,)))


@settings(deadline=None)  # the first call may be slow
@given(SEEDS, st.floats(0.5, 5), st.floats(0.2, 5), st.floats(-1, 3), st.floats(-1, 3))
def test_the_parametric_loss_is_what_the_papers_write(
    seed: int, gamma: float, temperature: float, first: float, second: float
) -> None:
    logits = _normal(seed, 9, 3)
    classes = (_normal(seed + 1, 9) * 100).long() % 3
    right = torch.softmax(logits / temperature, 1).gather(1, classes[:, None])[:, 0]
    theirs = (1 - right) ** gamma * -right.log() + first * (1 - right) + second * (1 - right) ** 2
    ours = parametric(WINE)(logits, classes, (0.0, gamma, temperature, first, second, 0.0))
    torch.testing.assert_close(ours, theirs.mean())


def test_weighting_gives_each_class_the_same_say() -> None:
    targets = WINE.train.targets
    logits = torch.zeros(len(targets), WINE.outputs)
    logits[targets == 0] += torch.tensor([1.0, 0.0, 0.0])
    of_classes = [
        functional.cross_entropy(logits[targets == number], targets[targets == number])
        for number in range(WINE.outputs)
    ]
    weighted = parametric(WINE)(logits, targets, (*NEUTRAL[:-1], 1.0))
    torch.testing.assert_close(weighted, torch.stack(of_classes).mean())


def test_gradients_are_finite_where_a_class_is_certain() -> None:
    logits = torch.tensor([[80.0, 0.0, 0.0]], requires_grad=True)
    parametric(WINE)(logits, torch.tensor([0]), (0.0, 0.3, 1.0, 1.0, 1.0, 0.0)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_needs_its_gamma_and_takes_other_coefficients() -> None:
    with pytest.raises(ConfigurationError, match="focal_gamma is missing"):
        loss(Settings({"loss": "focal"}), IRIS)
    found = loss(Settings({"loss": "focal", "focal_gamma": 2.0, "class_weighting": 0.5}), IRIS)
    assert found.parameters == (0.0, 2.0, 1.0, 0.0, 0.0, 0.5)


def test_a_learned_loss_is_chosen_by_its_name() -> None:
    values = dict(zip(COEFFICIENTS, (0.1, 0.5, 1.2, 0.3, 0.0, 0.0), strict=True))
    found = loss(Settings({"loss": "shops"}), IRIS, Learned(losses={"shops": values}))
    assert found.parameters == tuple(values.values())
    with pytest.raises(ConfigurationError, match=r"loss = 'shops' must be one of .*'mse'"):
        loss(Settings({"loss": "shops"}), IRIS)
    with pytest.raises(ConfigurationError, match=r"loss = 'shops' must be .* regression task"):
        loss(Settings({"loss": "shops"}), DIABETES, Learned(losses={"shops": values}))
