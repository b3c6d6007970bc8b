"""Gated recurrent networks (Cho et al. 2014) on signals, written out, so that many may be computed
as one."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from metatune.networks.architectures.layers import Dropout, Shape, linear, placed
from metatune.networks.architectures.sequences import Windows, check_signals
from metatune.networks.settings import Settings


def gru(settings: Settings, shape: Shape, outputs: int) -> nn.Sequential:
    """`depth` recurrent layers of `width` units, which read `window` steps of a signal at once.

    `state` says whether the last layer sees the last state or the average of all. Dropout is
    after each recurrent layer. Raises ConfigurationError for inputs that are not signals.
    """
    check_signals(settings, shape)
    depth, width = settings.whole("depth"), settings.whole("width")
    windows = Windows(shape, settings.whole("window"))
    last = settings.choice("state", ("last", "average")) == "last"
    rate = settings.number("dropout", 0.0, 0.99)
    layers: list[nn.Module] = [windows]
    features = windows.features
    for index in range(depth):
        if index:
            layers.append(Dropout(rate, (windows.count, width)))
        layers.append(_Layer(features, width, index))
        features = width
    layers += [_Readout(last), Dropout(rate, (width,))]
    layers.append(placed(linear(width, outputs), "output"))
    return nn.Sequential(*layers)


class _Layer(nn.Module):
    """Gated recurrent units: [batch, steps, features] to their states [batch, steps, width].

    As torch's own, with the reset gate after the product with the state. Weights are kept for each
    gate by itself, so that they are drawn as those of any other layer.
    """

    is_unrolled = True  # see Program.compile

    def __init__(self, features: int, width: int, index: int) -> None:
        super().__init__()
        self.width = width
        self.inputs = _Gates(features, width, f"hidden.{index}" if index else "input")
        self.states = _Gates(width, width, f"recurrent.{index}")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        into, bias = self.inputs()
        seen = functional.linear(x, into, bias)
        across, bias = self.states()
        across = across.t()
        state = torch.zeros_like(seen[:, 0, : self.width])
        states = []
        for step in range(x.shape[1]):
            now, before = seen[:, step], torch.addmm(bias, state, across)
            gates = torch.sigmoid(now[:, : 2 * self.width] + before[:, : 2 * self.width])
            reset, keep = gates[:, : self.width], gates[:, self.width :]
            new = torch.tanh(now[:, 2 * self.width :] + reset * before[:, 2 * self.width :])
            state = new + keep * (state - new)
            states.append(state)
        return torch.stack(states, dim=1)


class _Gates(nn.Module):
    """The weights of the reset gate, the update gate and the candidate state, in this order."""

    def __init__(self, features: int, width: int, place: str) -> None:
        super().__init__()
        self.reset = placed(linear(features, width), f"{place}.reset")
        self.update = placed(linear(features, width), f"{place}.update")
        self.candidate = placed(linear(features, width), f"{place}.candidate")

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights [3 x width, features] and biases [3 x width] of all three."""
        layers = (self.reset, self.update, self.candidate)
        weights = torch.cat([torch.as_tensor(layer.weight) for layer in layers])
        return weights, torch.cat([torch.as_tensor(layer.bias) for layer in layers])


class _Readout(nn.Module):
    """The last or the average state of [batch, steps, width]: [batch, width]."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, -1] if self.last else x.mean(dim=1)
