"""Losses that training minimises, written out so that their parameters may be tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from metatune.networks.settings import Settings
from metatune.networks.tables import Kind

Parameters = Sequence[float] | torch.Tensor

_LOSSES: dict[Kind, tuple[str, ...]] = {
    "classification": ("cross_entropy",),
    "regression": ("mse", "huber"),
}


@dataclass(frozen=True)
class Loss:
    """A loss: (outputs [n, outputs], targets) -> mean over rows, a scalar.

    `function` takes the loss's parameters as a third argument, numbers or a tensor of as many.
    """

    function: Callable[[torch.Tensor, torch.Tensor, Parameters], torch.Tensor]
    parameters: tuple[float, ...] = ()

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss of some rows."""
        return self.function(outputs, targets, self.parameters)


def losses_for(kind: Kind) -> tuple[str, ...]:
    """Names of the losses that fit a kind of task."""
    return _LOSSES[kind]


def loss(settings: Settings, kind: Kind) -> Loss:
    """The loss that `settings` name.

    Raises ConfigurationError if it does not fit `kind`.
    """
    name = settings.choice("loss", [name for names in _LOSSES.values() for name in names])
    if name not in losses_for(kind):
        raise settings.error("loss", f"one of {list(losses_for(kind))} for a {kind} task")
    if name == "cross_entropy":
        return Loss(cross_entropy, (settings.number("label_smoothing", 0.0, 1.0),))
    if name == "huber":
        return Loss(huber, (settings.number("huber_delta", 1e-6),))
    return Loss(mse)


def cross_entropy(
    logits: torch.Tensor, classes: torch.Tensor, parameters: Parameters
) -> torch.Tensor:
    """Cross-entropy of logits [n, c] against class numbers [n], of whose weight a share, its one
    parameter, is spread over all classes (Szegedy et al. 2016, section 7)."""
    smoothing = parameters[0]
    # Five times as fast as log_softmax, whose rows of few classes are not vectorised.
    normalizer = torch.logsumexp(logits, 1).mean()
    right = logits.gather(1, classes[:, None]).mean()
    return normalizer - ((1.0 - smoothing) * right + smoothing * logits.mean())


def mse(outputs: torch.Tensor, targets: torch.Tensor, _: Parameters = ()) -> torch.Tensor:
    """Mean squared error of outputs [n, outputs]."""
    return ((outputs - targets) ** 2).mean()


def huber(outputs: torch.Tensor, targets: torch.Tensor, parameters: Parameters) -> torch.Tensor:
    """Mean of r²/2 up to |r| = delta, its one parameter, and of delta (|r| - delta/2) beyond
    (Huber 1964)."""
    delta = parameters[0]
    residual = (outputs - targets).abs()
    inside = residual.clamp(max=delta)  # smaller of |r| and delta
    return (inside * (residual - 0.5 * inside)).mean()
