"""Multi-layer perceptrons."""

from __future__ import annotations

import math

from torch import nn

from metatune.networks.layers import ACTIVATIONS, NORMALIZATIONS, Dropout, Shape, linear
from metatune.networks.settings import Settings


def mlp(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """A multi-layer perceptron: `depth` hidden layers of `width` units."""
    depth, width = settings.whole("depth"), settings.whole("width")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    normalization = settings.choice("normalization", NORMALIZATIONS)
    rate = settings.number("dropout", 0.0, 0.99)
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(shape)
    for _ in range(depth):
        # Batch normalization takes any bias away again.
        layers.append(linear(features, width, bias=normalization != "batch"))
        if normalization == "batch":
            layers.append(nn.BatchNorm1d(width))
        elif normalization == "layer":
            layers.append(nn.LayerNorm(width))
        layers += [activation(), Dropout(rate, (width,))]
        features = width
    layers.append(linear(features, outputs))
    return nn.Sequential(*layers)
