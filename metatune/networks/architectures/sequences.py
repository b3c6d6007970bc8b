"""What networks on signals and documents begin with."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from metatune.networks.architectures.layers import Embedding, Shape, linear
from metatune.networks.data.tokens import TokenShape
from metatune.networks.settings import Settings


def check_signals(settings: Settings, shape: Shape) -> None:
    """Raise ConfigurationError, by the network's name, for inputs that are not signals."""
    if len(shape) != 2:
        raise settings.error(
            "network",
            f"'mlp' for inputs of shape {shape}; a {settings['network']} needs [channels, length]",
        )


def check_documents(settings: Settings, shape: Shape) -> int:
    """How many token ids there are; raises ConfigurationError, by the network's name, for inputs
    that are not documents."""
    if not isinstance(shape, TokenShape):
        name = settings["network"]
        raise settings.error("network", f"'mlp' for inputs {shape}; {name} needs documents")
    return shape.vocabulary


class Windows(nn.Module):
    """Signals [batch, channels, length] cut into `count` windows of `window` steps side by side:
    [batch, count, channels x window]. Zeros are added at the end where they do not fit."""

    def __init__(self, shape: Shape, window: int) -> None:
        super().__init__()
        channels, length = shape
        self.window = window
        self.count = math.ceil(length / window)
        self.features = channels * window
        self.padding = (0, self.count * window - length)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(x, self.padding)
        cut = padded.reshape(*x.shape[:2], self.count, self.window)
        windows: torch.Tensor = cut.transpose(1, 2).flatten(2)
        return windows


class Steps(nn.Module):
    """Tokens [batch, count, width] of signals: windows through a linear layer, and positions."""

    def __init__(self, shape: Shape, window: int, width: int) -> None:
        super().__init__()
        self.windows = Windows(shape, window)
        self.count = self.windows.count
        self.project = linear(self.windows.features, width)
        self.positions = Embedding(self.count, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.project(self.windows(x)) + self.positions.weight
        return tokens


class Lookup(nn.Module):
    """The learned vector of each token id [batch, tokens], whole numbers of whatever type:
    [batch, tokens, width]."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.vectors = Embedding(vocabulary, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding(ids.long(), self.vectors.weight)


class Words(nn.Module):
    """Tokens [batch, count, width] of documents: the vectors of their words, and positions."""

    def __init__(self, vocabulary: int, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.words = Lookup(vocabulary, width)
        self.positions = Embedding(count, width)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.words(ids) + self.positions.weight
        return tokens


def mean_of_present(x: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """The mean of those tokens of [batch, tokens, width] that `present` [batch, tokens] tells of;
    0 where there is none."""
    weights = present.to(x.dtype)
    total = (x * weights[:, :, None]).sum(dim=1)
    mean: torch.Tensor = total / weights.sum(dim=1, keepdim=True).clamp(min=1.0)
    return mean
