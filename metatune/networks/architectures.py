"""Architectures: network modules built from a configuration.

Modules work under `torch.func`: nothing in their forward depends on the values of tensors, and
what differs between members of a population (weights, dropout rates and uniforms, running
statistics) stands in parameters and buffers. Parameters are left uninitialised (see
`initializers`), so the global random generator is never used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.utils import skip_init

from metatune.networks.settings import Settings

Shape = tuple[int, ...]

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMALIZATIONS = ("none", "batch", "layer")
POOLINGS: Mapping[str, Callable[[int], nn.Module]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
}


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) of inputs [batch, *shape].

    In training an element is dropped where its uniform is below the rate. Uniforms come from
    outside, so that whoever trains decides what they are keyed by: set `uniforms` [batch, *shape]
    before each forward. Rate and uniforms are buffers that no checkpoint holds.
    """

    rate: torch.Tensor
    uniforms: torch.Tensor

    def __init__(self, rate: float, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("rate", torch.tensor(rate), persistent=False)
        self.register_buffer("uniforms", torch.ones(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The inputs, in training with some of them dropped: [batch, *shape]."""
        if not self.training:
            return x
        return torch.where(self.uniforms < self.rate, 0.0, x / (1.0 - self.rate))


def build(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """The network that `settings` describe, from inputs [batch, *shape] to [batch, outputs]."""
    return _NETWORKS[settings.choice("network", _NETWORKS)](settings, shape, outputs)


def mlp(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A multi-layer perceptron: `depth` hidden layers of `width` units."""
    depth, width = settings.whole("depth"), settings.whole("width")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = settings.choice("normalization", NORMALIZATIONS)
    rate = settings.number("dropout", 0.0, 0.99)
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(shape)
    for _ in range(depth):
        layers.append(_linear(features, width))
        if normalization == "batch":
            layers.append(nn.BatchNorm1d(width))
        elif normalization == "layer":
            layers.append(nn.LayerNorm(width))
        layers += [activation(), Dropout(rate, (width,))]
        features = width
    layers.append(_linear(features, outputs))
    return nn.Sequential(*layers)


def cnn(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A convolutional network: `blocks` of convolution, normalization, activation and 2x2 pooling.

    The first block has `channels` channels, each later one twice as many. A side of one pixel is
    pooled no further. `readout` says whether the last layer sees each channel's average or all of
    its pixels. Raises ConfigurationError for inputs that are not images.
    """
    if len(shape) != 3:
        raise settings.error(
            "network", f"'mlp' for inputs of shape {shape}; a cnn needs [channels, height, width]"
        )
    blocks, channels = settings.whole("blocks"), settings.whole("channels")
    kernel = settings.whole("kernel")
    if kernel % 2 == 0:
        raise settings.error("kernel", "odd, so that an image keeps its size")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = settings.choice("normalization", NORMALIZATIONS)
    pooling = POOLINGS[settings.choice("pooling", POOLINGS)]
    readout = settings.choice("readout", ("average", "flatten"))
    rate = settings.number("dropout", 0.0, 0.99)
    layers: list[nn.Module] = []
    before, height, width = shape
    for block in range(blocks):
        after = channels * 2**block
        layers.append(_convolution(before, after, kernel))
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
    layers.append(_linear(features, outputs))
    return nn.Sequential(*layers)


def _linear(features: int, outputs: int) -> nn.Module:
    layer: nn.Module = skip_init(nn.Linear, features, outputs)  # type: ignore[no-untyped-call]
    return layer


def _convolution(before: int, after: int, kernel: int) -> nn.Module:
    layer: nn.Module = skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, before, after, kernel, padding=kernel // 2
    )
    return layer


_NETWORKS: Mapping[str, Callable[[Settings, Shape, int], nn.Module]] = {"mlp": mlp, "cnn": cnn}
