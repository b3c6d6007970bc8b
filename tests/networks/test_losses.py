import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from metatune.errors import ConfigurationError
from metatune.networks.losses import cross_entropy, huber, loss, losses_for, mse
from metatune.networks.settings import Settings

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


def test_a_loss_that_does_not_fit_the_task_is_refused() -> None:
    assert losses_for("classification") == ("cross_entropy",)
    assert losses_for("regression") == ("mse", "huber")
    with pytest.raises(ConfigurationError, match=r"loss = 'mse' must be .*cross_entropy.*classif"):
        loss(Settings({"loss": "mse"}), "classification")


def test_settings_choose_the_loss() -> None:
    outputs, targets = _normal(0, 5, 1), _normal(1, 5, 1)
    chosen = loss(Settings({"loss": "huber", "huber_delta": 0.5}), "regression")
    assert chosen(outputs, targets) == huber(outputs, targets, (0.5,))
    assert loss(Settings({"loss": "mse"}), "regression")(outputs, targets) == mse(outputs, targets)
