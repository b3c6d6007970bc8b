"""Layers that the architectures share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn

from metatune.networks.settings import Settings

Shape = tuple[int, ...]

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
}
NORMALIZATIONS = ("none", "batch", "layer")
SKIPS = ("none", "residual")

_Module = TypeVar("_Module", bound=nn.Module)


def placed(module: _Module, place: str) -> _Module:
    """The module, marked with its place in the architecture: what stands at the same place in
    another network of the family corresponds to it (see `inheritance`)."""
    vars(module)["place"] = place
    return module


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
        kept = (self.uniforms >= self.rate).to(x.dtype) / (1.0 - self.rate)
        return x * kept


class Embedding(nn.Module):
    """A learned vector for each of `count` places: `weight` [count, width], uninitialised."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))


class Linear(nn.Linear):
    """Torch's own, uninitialised."""

    def reset_parameters(self) -> None:
        """Leave them so: torch's own would use the global random generator."""


class _Conv2d(nn.Conv2d):
    def reset_parameters(self) -> None:
        """Leave them uninitialised."""


def linear(features: int, outputs: int, bias: bool = True) -> nn.Module:
    """A linear layer, uninitialised."""
    return Linear(features, outputs, bias)


def convolution(
    before: int, after: int, kernel: int, stride: int = 1, bias: bool = True
) -> nn.Module:
    """A convolution by an odd kernel, uninitialised; with stride 1 it keeps the size of images."""
    return _Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=bias)


def convolution_1d(before: int, after: int, kernel: int, bias: bool = True) -> nn.Module:
    """A convolution of images of one row that keeps their length, uninitialised."""
    return _Conv2d(before, after, (1, kernel), padding=(0, kernel // 2), bias=bias)


def check_images(settings: Settings, shape: Shape) -> None:
    """Raise ConfigurationError, by the network's name, for inputs that are not images."""
    if len(shape) != 3:
        raise settings.error(
            "network",
            f"'mlp' for inputs of shape {shape}; "
            f"a {settings['network']} needs [channels, height, width]",
        )
