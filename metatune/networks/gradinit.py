"""Learned scales of initial weights (GradInit; Zhu et al. 2021, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from metatune.networks.architectures.layers import Dropout
from metatune.networks.checkpoints import Tensors
from metatune.networks.losses import Loss

STEPS = 60
_RATE = 0.03  # of Adam on the scales
_GRADIENT_NORM = (
    3.0  # gamma of the paper; at 1 small networks hardly learn (docs/initialization.md)
)
_LEAST = 0.01  # a scale is never less
_LEAST_NORM = 1e-12

Batch = tuple[torch.Tensor, torch.Tensor]


def learn_scales(
    network: nn.Module, loss: Loss, rate: float, is_adaptive: bool, batches: Sequence[Batch]
) -> None:
    """Multiply each weight and bias of `network` by a positive number, learned in `STEPS` steps of
    Adam: it lowers the loss after one simulated training step at learning rate `rate`, of signs
    where the rule `is_adaptive`, as long as the gradient's norm is at most 3, and else that norm.

    `batches` are taken in turn, and the loss after a step is measured on half of its batch and half
    of the next one. Nothing is drawn; dropout is off. Where a loss is not finite, that step is left
    out.
    """
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    buffers = {name: b.detach().clone() for name, b in network.named_buffers()}
    scales = {n: torch.ones((), dtype=w.dtype, requires_grad=True) for n, w in weights.items()}
    optimizer = torch.optim.Adam(scales.values(), lr=_RATE)
    network.train()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.eval()

    def loss_at(tensors: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
        kept = {name: buffer.clone() for name, buffer in buffers.items()}
        outputs = torch.func.functional_call(network, {**tensors, **kept}, (batch[0],))
        return loss(outputs, batch[1])

    for step in range(STEPS):
        batch, following = (batches[index % len(batches)] for index in (step, step + 1))
        scaled = {name: scales[name] * weight for name, weight in weights.items()}
        found = torch.autograd.grad(
            loss_at(scaled, batch), list(scaled.values()), create_graph=True
        )
        gradients = dict(zip(scaled, found, strict=True))
        norm = (sum(g.square().sum() for g in found) + _LEAST_NORM) ** 0.5
        if norm > _GRADIENT_NORM:
            objective = norm
        else:
            stepped = _stepped(scaled, gradients, rate, is_adaptive)
            objective = loss_at(stepped, _halves(batch, following))
        if torch.isfinite(objective):
            _descend(optimizer, scales, objective)
    network.train()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(scales[name])


def _stepped(weights: Tensors, gradients: Tensors, rate: float, is_adaptive: bool) -> Tensors:
    """Weights after a step of gradient descent, or of Adam's first, which is of signs."""
    steps = {name: g.sign() if is_adaptive else g for name, g in gradients.items()}
    return {name: weight - rate * steps[name] for name, weight in weights.items()}


def _halves(one: Batch, other: Batch) -> Batch:
    rows = (len(one[0]) + 1) // 2
    inputs, targets = (torch.cat([a[:rows], b[rows:]]) for a, b in zip(one, other, strict=True))
    return inputs, targets


def _descend(optimizer: torch.optim.Optimizer, scales: Tensors, objective: torch.Tensor) -> None:
    found = torch.autograd.grad(objective, list(scales.values()), allow_unused=True)
    for scale, gradient in zip(scales.values(), found, strict=True):
        known = gradient is not None and bool(torch.isfinite(gradient))
        scale.grad = gradient if known else None
    optimizer.step()
    with torch.no_grad():
        for scale in scales.values():
            scale.clamp_(min=_LEAST)
