"""Convolutional networks on signals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from metatune.networks.architectures.layers import (
    ACTIVATIONS,
    NORMALIZATIONS,
    Dropout,
    Shape,
    convolution_1d,
    linear,
    placed,
)
from metatune.networks.architectures.sequences import check_signals
from metatune.networks.settings import Settings

_POOLINGS: Mapping[str, Callable[[tuple[int, int]], nn.Module]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}


def cnn1d(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A convolutional network on signals: `blocks` of convolution, normalization, activation and
    pooling by two steps, as `cnn` on images.

    The first block has `channels` channels, each later one twice as many; a single step is pooled
    no further. `readout` says whether the last layer sees each channel's average or all of its
    steps. Raises ConfigurationError for inputs that are not signals.
    """
    check_signals(settings, shape)
    blocks, channels = settings.whole("blocks"), settings.whole("channels")
    kernel = settings.whole("kernel")
    if kernel % 2 == 0:
        raise settings.error("kernel", "odd, so that a signal keeps its length")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = settings.choice("normalization", NORMALIZATIONS)
    pooling = _POOLINGS[settings.choice("pooling", _POOLINGS)]
    readout = settings.choice("readout", ("average", "flatten"))
    rate = settings.number("dropout", 0.0, 0.99)
    layers: list[nn.Module] = [_Rows()]
    before, length = shape
    for block in range(blocks):
        after = channels * 2**block
        # Batch normalization takes any bias away again.
        filters = convolution_1d(before, after, kernel, bias=normalization != "batch")
        layers.append(placed(filters, f"hidden.{block}" if block else "input"))
        if normalization != "none":
            # One group: all channels and steps of a row.
            norm = nn.BatchNorm2d(after) if normalization == "batch" else nn.GroupNorm(1, after)
            layers.append(placed(norm, f"normalization.{block}"))
        layers.append(activation())
        if length > 1:
            layers.append(pooling((1, 2)))
            length //= 2
        before = after
    features = before if readout == "average" else before * length
    if readout == "average":
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers += [nn.Flatten(), Dropout(rate, (features,))]
    # Where steps are seen, those of another length are others.
    place = "output" if readout == "average" else f"output.{length}"
    layers.append(placed(linear(features, outputs), place))
    return nn.Sequential(*layers)


class _Rows(nn.Module):
    """Signals [batch, channels, length] as images of one row: [batch, channels, 1, length]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, None]
