"""Layers that the architectures share."""

from __future__ import annotations

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


class Embedding(nn.Module):
    """A learned vector for each of `count` places: `weight` [count, width], uninitialised."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))


def linear(features: int, outputs: int, bias: bool = True) -> nn.Module:
    """A linear layer, uninitialised."""
    layer: nn.Module = skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, features, outputs, bias=bias
    )
    return layer


def convolution(
    before: int, after: int, kernel: int, stride: int = 1, bias: bool = True
) -> nn.Module:
    """A convolution by an odd kernel, uninitialised; with stride 1 it keeps the size of images."""
    layer: nn.Module = skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, before, after, kernel, stride=stride, padding=kernel // 2, bias=bias
    )
    return layer


def check_images(settings: Settings, shape: Shape) -> None:
    """Raise ConfigurationError, by the network's name, for inputs that are not images."""
    if len(shape) != 3:
        raise settings.error(
            "network",
            f"'mlp' for inputs of shape {shape}; "
            f"a {settings['network']} needs [channels, height, width]",
        )
