"""Residual convolutional networks, with activations before the convolutions (He et al. 2016,
"Identity Mappings in Deep Residual Networks") or after them (He et al. 2016, "Deep Residual
Learning for Image Recognition")."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from metatune.networks.architectures.layers import (
    ACTIVATIONS,
    Dropout,
    Shape,
    check_images,
    convolution,
    linear,
    placed,
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
    rounded up. The last layer sees each channel's average. `kernel`, 3 where it is absent, is the
    odd side of the convolutions, and `activation_position`, "pre" where it is absent, says on which
    side of them normalization and activation stand: "pre" or "post". Raises ConfigurationError for
    inputs that are not images.
    """
    check_images(settings, shape)
    stages, blocks = settings.whole("stages"), settings.whole("blocks")
    channels = settings.whole("channels")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = _NORMALIZATIONS[settings.choice("normalization", _NORMALIZATIONS)]
    rate = settings.number("dropout", 0.0, 0.99)
    kernel = settings.whole("kernel", default=3)
    if kernel % 2 == 0:
        raise settings.error("kernel", "odd, so that an image keeps its size")
    pre = settings.choice("activation_position", ("pre", "post"), default="pre") == "pre"
    kind = _Block if pre else _PostBlock
    layers: list[nn.Module] = [placed(convolution(shape[0], channels, kernel, bias=False), "input")]
    before = channels
    if not pre:
        layers += [placed(normalization(before), "normalization"), activation()]
    for stage in range(stages):
        after = channels * 2**stage
        for block in range(blocks):
            made = kind(before, after, kernel, normalization, activation)
            layers.append(placed(made, f"stage.{stage}.block.{block}"))
            before = after
    if pre:
        layers += [placed(normalization(before), "normalization"), activation()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [Dropout(rate, (before,)), placed(linear(before, outputs), "output")]
    return nn.Sequential(*layers)


class _Block(nn.Module):
    """Two convolutions added to their input, normalization and activation before each.

    Where the number of channels changes, the first convolution has stride 2, and the input goes
    through a 1x1 convolution with stride 2 after normalization and activation.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        normalization: Callable[[int], nn.Module],
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.activated = nn.Sequential(normalization(before), activation())
        self.residual = nn.Sequential(
            convolution(before, after, kernel, stride, bias=False),
            normalization(after),
            activation(),
            convolution(after, after, kernel, bias=False),
        )
        self.shortcut = None if stride == 1 else convolution(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs [batch, before, height, width] to [batch, after, height', width']."""
        activated = self.activated(x)
        identity = x if self.shortcut is None else self.shortcut(activated)
        added: torch.Tensor = identity + self.residual(activated)
        return added


class _PostBlock(nn.Module):
    """The same with normalization after each convolution, and activation after the first and after
    the sum."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        normalization: Callable[[int], nn.Module],
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.residual = nn.Sequential(
            convolution(before, after, kernel, stride, bias=False),
            normalization(after),
            activation(),
            convolution(after, after, kernel, bias=False),
            normalization(after),
        )
        self.shortcut: nn.Module | None = None
        if stride != 1:
            narrowed = convolution(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(narrowed, normalization(after))
        self.activation = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs [batch, before, height, width] to [batch, after, height', width']."""
        identity = x if self.shortcut is None else self.shortcut(x)
        activated: torch.Tensor = self.activation(identity + self.residual(x))
        return activated
