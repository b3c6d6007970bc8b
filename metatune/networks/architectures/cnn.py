"""Plain convolutional networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from metatune.networks.architectures.layers import (
    ACTIVATIONS,
    NORMALIZATIONS,
    SKIPS,
    Dropout,
    Shape,
    check_images,
    convolution,
    linear,
    placed,
)
from metatune.networks.settings import Settings

_POOLINGS: Mapping[str, Callable[[int], nn.Module]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}


def cnn(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A convolutional network: `blocks` of convolution, normalization, activation and 2x2 pooling.

    The first block has `channels` channels, each later one twice as many. A side of one pixel is
    pooled no further. `readout` says whether the last layer sees each channel's average or all of
    its pixels. With `skip` = "residual" the input of a block, through a 1x1 convolution, is added
    before pooling; "none" is what its absence means. Raises ConfigurationError for inputs that are
    not images.
    """
    check_images(settings, shape)
    blocks, channels = settings.whole("blocks"), settings.whole("channels")
    kernel = settings.whole("kernel")
    if kernel % 2 == 0:
        raise settings.error("kernel", "odd, so that an image keeps its size")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = settings.choice("normalization", NORMALIZATIONS)
    pooling = _POOLINGS[settings.choice("pooling", _POOLINGS)]
    readout = settings.choice("readout", ("average", "flatten"))
    rate = settings.number("dropout", 0.0, 0.99)
    skips = settings.choice("skip", SKIPS, default="none") == "residual"
    layers: list[nn.Module] = []
    before, height, width = shape
    for block in range(blocks):
        after = channels * 2**block
        # Batch normalization takes any bias away again.
        filters = convolution(before, after, kernel, bias=normalization != "batch")
        branch: list[nn.Module] = [placed(filters, f"hidden.{block}" if block else "input")]
        if normalization != "none":
            # One group: all channels and pixels of a row.
            norm = nn.BatchNorm2d(after) if normalization == "batch" else nn.GroupNorm(1, after)
            branch.append(placed(norm, f"normalization.{block}"))
        branch.append(activation())
        if skips:
            place = f"shortcut.{block}" if block else "input.shortcut"
            shortcut = placed(convolution(before, after, 1, bias=False), place)
            branch = [_Residual(nn.Sequential(*branch), shortcut)]
        layers += branch
        if min(height, width) > 1:
            layers.append(pooling(2))
            height, width = height // 2, width // 2
        before = after
    features = before if readout == "average" else before * height * width
    if readout == "average":
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers += [nn.Flatten(), Dropout(rate, (features,))]
    # Where pixels are seen, those of another size are others.
    place = "output" if readout == "average" else f"output.{height}x{width}"
    layers.append(placed(linear(features, outputs), place))
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    """A branch added to its input, which goes through a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [batch, before, height, width] to [batch, after, height, width]."""
        added: torch.Tensor = self.shortcut(x) + self.branch(x)
        return added
