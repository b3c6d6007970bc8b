"""Residual convolutional networks, in their pre-activation form (He et al. 2016, "Identity
Mappings in Deep Residual Networks")."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from metatune.networks.layers import (
    ACTIVATIONS,
    Dropout,
    Shape,
    check_images,
    convolution,
    linear,
)
from metatune.networks.settings import Settings

_MOST_GROUPS = 4  # so that a group has channels to average over where an image is one pixel


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(channels, _MOST_GROUPS), channels)


_NORMALIZATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": _group_norm,
}


def resnet(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A residual network of `stages` stages of `blocks` blocks.

    The first stage has `channels` channels; each later one has twice as many, and half the side,
    rounded up. The last layer sees each channel's average. Raises ConfigurationError for inputs
    that are not images.
    """
    check_images(settings, shape)
    stages, blocks = settings.whole("stages"), settings.whole("blocks")
    channels = settings.whole("channels")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = _NORMALIZATIONS[settings.choice("normalization", _NORMALIZATIONS)]
    rate = settings.number("dropout", 0.0, 0.99)
    layers: list[nn.Module] = [convolution(shape[0], channels, 3, bias=False)]
    before = channels
    for stage in range(stages):
        after = channels * 2**stage
        for _ in range(blocks):
            layers.append(_Block(before, after, normalization, activation))
            before = after
    layers += [normalization(before), activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [Dropout(rate, (before,)), linear(before, outputs)]
    return nn.Sequential(*layers)


class _Block(nn.Module):
    """Two 3x3 convolutions added to their input, normalization and activation before each.

    Where the number of channels changes, the first convolution has stride 2, and the input goes
    through a 1x1 convolution with stride 2 after normalization and activation.
    """

    def __init__(
        self,
        before: int,
        after: int,
        normalization: Callable[[int], nn.Module],
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.activated = nn.Sequential(normalization(before), activation())
        self.residual = nn.Sequential(
            convolution(before, after, 3, stride, bias=False),
            normalization(after),
            activation(),
            convolution(after, after, 3, bias=False),
        )
        self.shortcut = None if stride == 1 else convolution(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs [batch, before, height, width] to [batch, after, height', width']."""
        activated = self.activated(x)
        identity = x if self.shortcut is None else self.shortcut(activated)
        added: torch.Tensor = identity + self.residual(activated)
        return added
