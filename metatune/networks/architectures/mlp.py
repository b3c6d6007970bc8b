"""Multi-layer perceptrons."""

from __future__ import annotations

import math

import torch
from torch import nn

from metatune.networks.architectures.layers import (
    ACTIVATIONS,
    NORMALIZATIONS,
    SKIPS,
    Dropout,
    Shape,
    linear,
    placed,
)
from metatune.networks.settings import Settings


def mlp(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A multi-layer perceptron: `depth` hidden layers of `width` units.

    With `skip` = "residual" each hidden layer but the first is added to what it is given (He et
    al. 2016), normalization, activation and dropout included; "none" is what its absence means.
    """
    depth, width = settings.whole("depth"), settings.whole("width")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = settings.choice("normalization", (*NORMALIZATIONS, "rms"))
    rate = settings.number("dropout", 0.0, 0.99)
    skips = settings.choice("skip", SKIPS, default="none") == "residual"
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(shape)
    for index in range(depth):
        # Batch normalization takes any bias away again.
        hidden = linear(features, width, bias=normalization != "batch")
        block: list[nn.Module] = [placed(hidden, f"hidden.{index}" if index else "input")]
        if normalization != "none":
            block.append(placed(_normalization(normalization, width), f"normalization.{index}"))
        block += [activation(), Dropout(rate, (width,))]
        layers += [Residual(nn.Sequential(*block))] if skips and index else block
        features = width
    layers.append(placed(linear(features, outputs), "output"))
    return nn.Sequential(*layers)


def _normalization(name: str, width: int) -> nn.Module:
    if name == "batch":
        return nn.BatchNorm1d(width)
    return nn.LayerNorm(width) if name == "layer" else nn.RMSNorm(width)  # Zhang & Sennrich 2019


class Residual(nn.Module):
    """A branch added to its input."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs [n, features] and what the branch makes of them."""
        added: torch.Tensor = x + self.branch(x)
        return added
