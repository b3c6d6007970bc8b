"""Functions such as users write, for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metatune.networks.architectures.layers import Dropout, Shape
from metatune.networks.settings import Settings


class Mixed(nn.Module):
    """Linear layers mixed by a raw parameter."""

    def __init__(self, features: int, width: int, outputs: int) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(features, width), nn.Linear(width, outputs)
        self.norm, self.drop = nn.BatchNorm1d(width), Dropout(0.2, (width,))
        self.share = nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [batch, outputs]."""
        return self.after(self.drop(self.norm(self.before(x)).relu() * self.share))  # type: ignore[no-any-return]


def network(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A network with a width."""
    return Mixed(shape[0], settings.whole("my_width"), outputs)


def branching(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A network that looks at values."""

    class Branching(Mixed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = super().forward(x)
            return found if float(found.detach().sum()) > 0 else 2.0 * found

    return Branching(shape[0], settings.whole("my_width"), outputs)


def dropping(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A network with a dropout of torch's."""
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(shape[0], outputs))


def frozen(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A network with a weight that does not train."""
    made = Mixed(shape[0], 4, outputs)
    made.share.requires_grad_(False)
    return made


def recurrent(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A network that drops by torch's global generator."""
    return nn.LSTM(shape[0], outputs, num_layers=2, dropout=0.5)


def warm(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A network that reads a setting of the loss."""
    settings.number("temperature")
    return nn.Linear(shape[0], outputs)


def nothing(settings: Settings, shape: Shape, outputs: int) -> None:
    """No network."""


def predict(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The mean over mirrored inputs."""
    return (network(inputs) - network(-inputs)) / 2  # type: ignore[no-any-return]


def loss(
    outputs: torch.Tensor, targets: torch.Tensor, margin: Any, slope: Any = 0.5
) -> torch.Tensor:
    """A hinge between classes."""
    right = outputs.gather(1, targets[:, None])
    cost: torch.Tensor = (margin - right + outputs).clamp(min=0.0) * slope
    return cost.mean()


def update(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    state: tuple[torch.Tensor, ...],
    learning_rate: Any,
    friction: Any,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Normalised momentum."""
    velocity: torch.Tensor = friction * state[0] + gradient
    step: torch.Tensor = learning_rate * velocity / (velocity.norm() + 1e-3)
    return weight - step, (velocity,)


def heavy_ball(
    weight: torch.Tensor, gradient: torch.Tensor, state: tuple[torch.Tensor, ...], rate: Any
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Momentum by the weight before; there is none at first, so it begins at 0."""
    return weight - rate * gradient + 0.5 * (weight - state[0]), (weight,)


def unnamed(outputs: torch.Tensor, targets: torch.Tensor, **numbers: float) -> torch.Tensor:
    """A loss whose parameters have no names."""
    return outputs.mean()


heavy_ball.states = 1  # type: ignore[attr-defined]
update.states = 1  # type: ignore[attr-defined]
