"""Plain convolutional networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from metatune.networks.layers import (
    ACTIVATIONS,
    NORMALIZATIONS,
    Dropout,
    Shape,
    check_images,
    convolution,
    linear,
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
    its pixels. Raises ConfigurationError for inputs that are not images.
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
    layers: list[nn.Module] = []
    before, height, width = shape
    for block in range(blocks):
        after = channels * 2**block
        # Batch normalization takes any bias away again.
        layers.append(convolution(before, after, kernel, bias=normalization != "batch"))
        if normalization == "batch":
            layers.append(nn.BatchNorm2d(after))
        elif normalization == "layer":
            layers.append(nn.GroupNorm(1, after))  # one group: all channels and pixels of a row
        layers.append(activation())
        if min(height, width) > 1:
            layers.append(pooling(2))
            height, width = height // 2, width // 2
        before = after
    features = before if readout == "average" else before * height * width
    if readout == "average":
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers += [nn.Flatten(), Dropout(rate, (features,))]
    layers.append(linear(features, outputs))
    return nn.Sequential(*layers)
