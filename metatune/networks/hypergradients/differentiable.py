"""Networks as functions that can be differentiated with respect to what they are trained with."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from metatune.networks.architectures.layers import Dropout


def differentiable(network: nn.Module) -> nn.Module:
    """A copy that computes the same, and whose running statistics and dropout have derivatives."""
    made = deepcopy(network)
    for name, module in list(made.named_modules()):
        twin = _twin(module)
        if twin is not None:
            before, _, leaf = name.rpartition(".")
            setattr(made.get_submodule(before), leaf, twin)
    return made


def _twin(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return _BatchNorm(module)
    if isinstance(module, Dropout):
        return HeldDropout(module)
    return None


class HeldDropout(Dropout):
    """Dropout whose noise grows and shrinks with the rate, while what is dropped stays dropped.

    At the rate p that its uniforms were compared with, the factor of an element is 1 + s e, with
    s² = p / (1 - p) its variance and e of mean 0 and variance 1. Held is e: at another rate, only s
    is another. The derivative of any loss that is quadratic in the factors is then that of its mean
    over all masks, on average over masks; the mask itself has none. `relative` is s over that at p.
    """

    relative: torch.Tensor

    def __init__(self, dropout: Dropout) -> None:
        super().__init__(0.0, dropout.shape)
        self.rate = dropout.rate.clone()
        self.register_buffer("relative", torch.ones_like(dropout.rate), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The inputs, in training with some of them dropped: [batch, *shape]."""
        if not self.training:
            return x
        factor = (self.uniforms >= self.rate).to(x.dtype) / (1.0 - self.rate)
        return x * (1.0 + (factor - 1.0) * self.relative)


class _BatchNorm(nn.Module):
    """Batch normalization (Ioffe & Szegedy 2015) written out."""

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, module: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = module.weight, module.bias
        self.eps, self.momentum = module.eps, module.momentum or 0.0
        for name, buffer in module.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs [batch, channels, ...], standardised channel by channel."""
        shape = (-1, *[1] * (x.dim() - 2))
        if not self.training:
            return self._scaled(x, self.running_mean, self.running_var, shape)
        dims = [0, *range(2, x.dim())]
        mean, variance = x.mean(dims), x.var(dims, correction=0)
        rows = x.numel() // x.shape[1]
        unbiased = variance * (rows / (rows - 1))
        for running, now in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.mul_(1.0 - self.momentum).add_(now * self.momentum)
        return self._scaled(x, mean, variance, shape)

    def _scaled(
        self, x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, shape: tuple[int, ...]
    ) -> torch.Tensor:
        scale = self.weight / (variance + self.eps).sqrt()
        return x * scale.view(shape) + (self.bias - mean * scale).view(shape)
