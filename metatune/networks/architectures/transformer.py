"""Transformer encoders (Vaswani et al. 2017) over the patches of an image (Dosovitskiy et al.
2021, ViT), the columns of a table (Gorishniy et al. 2021, FT-Transformer), the windows of a signal
or the words of a document."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from metatune.networks.architectures.layers import (
    ACTIVATIONS,
    Dropout,
    Embedding,
    Shape,
    linear,
    placed,
)
from metatune.networks.architectures.sequences import Steps, Words, mean_of_present
from metatune.networks.data.tokens import PADDING, TokenShape
from metatune.networks.settings import Settings

_ABSENT = -1e9  # the score of a token that only pads
_NORMALIZATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
}


def transformer(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """A transformer of `depth` blocks over tokens of `width` features.

    A block is attention of `heads` heads and then two linear layers with `feedforward` x `width`
    units between them; each of the two is a residual branch with dropout at its end (section
    5.4), and layer normalization stands before it ("pre", Xiong et al. 2020) or after the sum
    ("post"). The last layer sees the average of the tokens or a class token, as `readout` says.
    `normalization_type`, "layer" where it is absent, may be "rms" (Zhang & Sennrich 2019), and
    `feedforward_gate`, "none" where it is absent, "linear": the units are then multiplied by as
    many linear ones (Shazeer 2020).
    `patch`, 2 where it is absent, is the side of an image's patches or the steps of a signal's
    windows. Documents have a token for each word, of which those that only pad take no part, and
    tables one for each feature; `patch` is then without effect. Raises ConfigurationError for a
    width that the heads do not divide.
    """
    depth, width = settings.whole("depth"), settings.whole("width")
    tokens = _tokens(settings, shape, width)
    heads, feedforward = settings.whole("heads"), settings.whole("feedforward")
    if width % heads != 0:
        raise settings.error("heads", f"a divisor of width = {width}")
    activation = ACTIVATIONS[settings.choice("activation", ACTIVATIONS)]
    pre = settings.choice("normalization", ("pre", "post")) == "pre"
    class_token = settings.choice("readout", ("average", "token")) == "token"
    rate = settings.number("dropout", 0.0, 0.99)
    kind = settings.choice("normalization_type", _NORMALIZATIONS, default="layer")
    normalization = _NORMALIZATIONS[kind]
    gated = settings.choice("feedforward_gate", ("none", "linear"), default="none") == "linear"
    layers: list[nn.Module] = [placed(tokens, "input")]
    if class_token:
        layers.append(placed(_ClassToken(width), "token"))
    sites = (tokens.count + class_token, width)
    for index in range(depth):
        attention = [_Attention(width, heads), Dropout(rate, sites)]
        between = feedforward * width
        units: list[nn.Module] = [linear(width, between), activation()]
        if gated:
            units = [_Gated(nn.Sequential(*units), linear(width, between))]
        dense = [*units, linear(between, width), Dropout(rate, sites)]
        for name, branch in (("attention", attention), ("feedforward", dense)):
            residual = _Residual(_Branch(*branch), width, pre, normalization)
            layers.append(placed(residual, f"block.{index}.{name}"))
    if pre:
        layers.append(placed(normalization(width), "normalization"))
    layers += [_Readout(class_token), placed(linear(width, outputs), "output")]
    return _OfWords(*layers) if isinstance(tokens, Words) else nn.Sequential(*layers)


def _tokens(settings: Settings, shape: Shape, width: int) -> _Patches | _Columns | Steps | Words:
    patch = settings.whole("patch", default=2)
    if isinstance(shape, TokenShape):
        return Words(shape.vocabulary, shape[0], width)
    if len(shape) == 3:
        return _Patches(shape, patch, width)
    return Steps(shape, patch, width) if len(shape) == 2 else _Columns(shape, width)


class _OfWords(nn.Sequential):
    """A transformer over token ids [batch, tokens], some of which only pad."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x, present = ids, ids != PADDING
        for layer in self:
            if isinstance(layer, _Residual | _Readout):
                x = layer(x, present)
                continue
            x = layer(x)
            if isinstance(layer, _ClassToken):
                present = torch.cat([torch.ones_like(present[:, :1]), present], dim=1)
        return x


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
    """A branch added to its input, with normalization before the branch or after the sum."""

    def __init__(
        self,
        branch: nn.Module,
        width: int,
        pre: bool,
        normalization: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.branch = branch
        self.before = normalization(width) if pre else nn.Identity()
        self.after = nn.Identity() if pre else normalization(width)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        added: torch.Tensor = self.after(x + self.branch(self.before(x), present))
        return added


class _Branch(nn.Sequential):
    """Layers one after another, of which attention is told which tokens are present."""

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        for layer in self:
            x = layer(x, present) if isinstance(layer, _Attention) else layer(x)
        return x


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

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )  # each [batch, heads, tokens, width / heads]
        scores = query * self.scale @ key.transpose(-2, -1)
        if present is not None:
            scores = torch.where(present[:, None, None, :], scores, _ABSENT)
        weights = torch.softmax(scores, dim=-1)
        attended: torch.Tensor = self.outputs((weights @ value).transpose(1, 2).flatten(2))
        return attended


class _Gated(nn.Module):
    """Activated units times as many linear ones: [..., width] to [..., units]."""

    def __init__(self, activated: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.activated, self.gate = activated, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gated: torch.Tensor = self.activated(x) * self.gate(x)
        return gated


class _Readout(nn.Module):
    """The class token or the average of tokens [batch, tokens, width], those that are `present` if
    not all are: [batch, width]."""

    def __init__(self, class_token: bool) -> None:
        super().__init__()
        self.class_token = class_token

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        if self.class_token:
            return x[:, 0]
        return x.mean(dim=1) if present is None else mean_of_present(x, present)
