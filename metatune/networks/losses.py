"""Losses that training minimises, written out so that their parameters may be tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from metatune.networks.settings import Settings
from metatune.networks.tables import Kind

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_LOSSES: dict[Kind, tuple[str, ...]] = {
    "classification": ("cross_entropy",),
    "regression": ("mse", "huber"),
}


def losses_for(kind: Kind) -> tuple[str, ...]:
    """Names of the losses that fit a kind of task."""
    return _LOSSES[kind]


def loss(settings: Settings, kind: Kind) -> Loss:
    """The loss that `settings` name: (outputs [n, outputs], targets) -> mean over rows, a scalar.

    Raises ConfigurationError if it does not fit `kind`.
    """
    name = settings.choice("loss", [name for names in _LOSSES.values() for name in names])
    if name not in losses_for(kind):
        raise settings.error("loss", f"one of {list(losses_for(kind))} for a {kind} task")
    if name == "cross_entropy":
        smoothing = settings.number("label_smoothing", 0.0, 1.0)
        return lambda outputs, targets: cross_entropy(outputs, targets, smoothing)
    if name == "huber":
        delta = settings.number("huber_delta", 1e-6)
        return lambda outputs, targets: huber(outputs, targets, delta)
    return mse


def cross_entropy(
    logits: torch.Tensor, classes: torch.Tensor, smoothing: float | torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of logits [n, c] against class numbers [n], of whose weight a share
    `smoothing` is spread over all classes (Szegedy et al. 2016, section 7)."""
    log_probabilities = torch.log_softmax(logits, dim=1)
    right = log_probabilities.gather(1, classes[:, None]).mean()
    return -((1.0 - smoothing) * right + smoothing * log_probabilities.mean())


def mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error of outputs [n, outputs]."""
    return ((outputs - targets) ** 2).mean()


def huber(
    outputs: torch.Tensor, targets: torch.Tensor, delta: float | torch.Tensor
) -> torch.Tensor:
    """Mean of r²/2 up to |r| = `delta`, and of delta (|r| - delta/2) beyond (Huber 1964)."""
    residual = (outputs - targets).abs()
    inside = residual.clamp(max=delta)  # smaller of |r| and delta
    return (inside * (residual - 0.5 * inside)).mean()
