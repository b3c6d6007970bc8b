"""Transformer encoders (Vaswani et al. 2017) over the patches of an image (Dosovitskiy et al.
2021, ViT) or the columns of a table (Gorishniy et al. 2021, FT-Transformer)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from metatune.networks.layers import ACTIVATIONS, Dropout, Embedding, Shape, linear
from metatune.networks.settings import Settings


def transformer(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A transformer of `depth` blocks over tokens of `width` features.

    A block is attention of `heads` heads and then two linear layers with `feedforward` x `width`
    units between them; each of the two is a residual branch with dropout at its end (section
    5.4), and layer normalization stands before it ("pre", Xiong et al. 2020) or after the sum
    ("post"). The last layer sees the average of the tokens or a class token, as `readout` says.
    Inputs that are no images have a token for each feature; `patch` is then without effect.
    Raises ConfigurationError for a width that the heads do not divide.
    """
    depth, width = settings.whole("depth"), settings.whole("width")
    heads, feedforward = settings.whole("heads"), settings.whole("feedforward")
    if width % heads != 0:
        raise settings.error("heads", f"a divisor of width = {width}")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    pre = settings.choice("normalization", ("pre", "post")) == "pre"
    class_token = settings.choice("readout", ("average", "token")) == "token"
    rate = settings.number("dropout", 0.0, 0.99)
    patch = settings.whole("patch")
    tokens = _Patches(shape, patch, width) if len(shape) == 3 else _Columns(shape, width)
    layers: list[nn.Module] = [tokens]
    if class_token:
        layers.append(_ClassToken(width))
    sites = (tokens.count + class_token, width)
    for _ in range(depth):
        attention = [_Attention(width, heads), Dropout(rate, sites)]
        between = feedforward * width
        dense = [linear(width, between), activation(), linear(between, width), Dropout(rate, sites)]
        layers += [_Residual(nn.Sequential(*branch), width, pre) for branch in (attention, dense)]
    if pre:
        layers.append(nn.LayerNorm(width))
    layers += [_Readout(class_token), linear(width, outputs)]
    return nn.Sequential(*layers)


class _Patches(nn.Module):
    """Tokens [batch, count, width] of images: patches through a linear layer, and positions.

    Where `patch` does not divide a side, zeros are added to the right and below.
    """

    def __init__(self, shape: Shape, patch: int, width: int) -> None:
        super().__init__()
        channels, *sides = shape
        self.patch = patch
        self.rows, self.columns = (math.ceil(side / patch) for side in sides)
        below, right = self.rows * patch - sides[0], self.columns * patch - sides[1]
        self.padding = (0, right, 0, below)
        self.count = self.rows * self.columns
        self.project = linear(channels * patch**2, width)
        self.positions = Embedding(self.count, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [batch, channels, height, width] to tokens, row by row."""
        padded = functional.pad(x, self.padding)
        cut = padded.reshape(*x.shape[:2], self.rows, self.patch, self.columns, self.patch)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(len(x), self.count, -1)
        tokens: torch.Tensor = self.project(patches) + self.positions.weight
        return tokens


class _Columns(nn.Module):
    """Tokens [batch, count, width] of features [batch, *shape]: each value times a vector of its
    column, plus another (Gorishniy et al. 2021, section 3.3)."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.count = math.prod(shape)
        self.slopes = Embedding(self.count, width)
        self.offsets = Embedding(self.count, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :, None] * self.slopes.weight + self.offsets.weight


class _ClassToken(nn.Module):
    """One learned token before the others of each row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = Embedding(1, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.token.weight.expand(len(x), 1, -1), x], dim=1)


class _Residual(nn.Module):
    """A branch added to its input, with layer normalization before the branch or after the sum."""

    def __init__(self, branch: nn.Module, width: int, pre: bool) -> None:
        super().__init__()
        self.branch = branch
        self.before = nn.LayerNorm(width) if pre else nn.Identity()
        self.after = nn.Identity() if pre else nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.after(x + self.branch(self.before(x)))
        return added


class _Attention(nn.Module):
    """Multi-head self-attention of tokens [batch, tokens, width] (Vaswani et al. 2017, eq. 1).

    Written out, so that under vmap members become part of the batch of the matrix products.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(width // heads)
        self.query, self.key, self.value = (linear(width, width) for _ in range(3))
        self.outputs = linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )  # each [batch, heads, tokens, width / heads]
        weights = torch.softmax(query * self.scale @ key.transpose(-2, -1), dim=-1)
        attended: torch.Tensor = self.outputs((weights @ value).transpose(1, 2).flatten(2))
        return attended


class _Readout(nn.Module):
    """The class token or the average of tokens [batch, tokens, width]: [batch, width]."""

    def __init__(self, class_token: bool) -> None:
        super().__init__()
        self.class_token = class_token

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0] if self.class_token else x.mean(dim=1)
