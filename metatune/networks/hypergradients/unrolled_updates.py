"""Update rules as functions, which can be differentiated: the rules of `updates`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

_EPSILON = 1e-8

States = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Columns:
    """What K networks are updated with: each [K, 1], `rates` also [K, P]. Infinite `limits` clip
    nothing."""

    rates: torch.Tensor
    decay: torch.Tensor
    momentum: torch.Tensor
    nesterov: torch.Tensor
    beta1: torch.Tensor
    beta2: torch.Tensor
    limits: torch.Tensor


def updated(
    name: str,
    weights: torch.Tensor,
    gradients: torch.Tensor,
    states: States,
    columns: Columns,
    step: int,
    backward: bool,
) -> tuple[torch.Tensor, States]:
    """Weights [K, P] and states after update number `step`, counted from 1, by the rule `name`; if
    not `backward`, derivatives go forward only."""
    gradients = _clipped(gradients, columns.limits)
    if name == "adamw":
        weights = weights * (1.0 - columns.rates * columns.decay)
    else:
        gradients = gradients + weights * columns.decay
    if name == "sgd":
        return _descended(weights, gradients, states, columns)
    root_scale = 1.0 / (1.0 - columns.beta2**step).sqrt()
    size = columns.rates / (1.0 - columns.beta1**step)
    adapted: Callable[..., tuple[torch.Tensor, ...]] = _Adapted.apply if backward else _adapted
    betas = columns.beta1, columns.beta2
    found = adapted(weights, gradients, *states, size, root_scale, *betas)
    return found[0], found[1:3]


def _descended(
    weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor], columns: Columns
) -> tuple[torch.Tensor, States]:
    velocity = states[0] * columns.momentum + gradients
    ahead = gradients + velocity * columns.momentum
    direction = torch.where(columns.nesterov > 0, ahead, velocity)
    return weights - columns.rates * direction, (velocity,)


def _adapted(
    weights: torch.Tensor,
    gradients: torch.Tensor,
    average: torch.Tensor,
    squares: torch.Tensor,
    size: torch.Tensor,
    root_scale: torch.Tensor,
    beta1: torch.Tensor,
    beta2: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Weights, average and squares after an update by Adam (Kingma & Ba 2015, algorithm 1), whose
    bias corrections are in `size` and `root_scale`; and the root and the quotient in it."""
    average = torch.lerp(average, gradients, 1.0 - beta1)
    squares = torch.lerp(squares, gradients * gradients, 1.0 - beta2)
    # The square root has no derivative at 0, where a gradient has always been 0.
    root = squares.clamp(min=torch.finfo(squares.dtype).tiny).sqrt()
    quotient = average / (root * root_scale + _EPSILON)
    return torch.addcmul(weights, size, quotient, value=-1.0), average, squares, root, quotient


class _Adapted(torch.autograd.Function):
    """`_adapted` with its derivatives written out, in fewer passes over the weights."""

    @staticmethod
    def forward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weights, average, squares, *kept = _adapted(*given)
        ctx.save_for_backward(*given[1:], *kept)
        return weights, average, squares

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, of_weights: torch.Tensor, of_average: torch.Tensor, of_squares: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        gradients, average, squares, *columns, root, quotient = ctx.saved_tensors
        size, root_scale, beta1, beta2 = columns
        by_average = (of_weights * size).div_((root * root_scale).add_(_EPSILON))
        by_root = by_average * quotient
        of_average = of_average - by_average
        # Zero where a gradient has always been 0, for so is the quotient.
        of_squares = (by_root * root_scale).div_(root).mul_(0.5).add_(of_squares)
        of_gradients = (gradients * of_squares).mul_(2.0 * (1.0 - beta2))
        of_gradients.addcmul_(of_average, 1.0 - beta1)
        of_columns: list[torch.Tensor | None] = [None] * 4
        if ctx.needs_input_grad[4]:
            of_columns[0] = -(of_weights * quotient).sum_to_size(size.shape)
        if ctx.needs_input_grad[5]:
            of_columns[1] = _inner(by_root, root)
        if ctx.needs_input_grad[6]:
            of_columns[2] = _inner(of_average, average - gradients)
        if ctx.needs_input_grad[7]:
            of_columns[3] = _inner(
                of_squares, torch.addcmul(squares, gradients, gradients, value=-1)
            )
        return of_weights, of_gradients, of_average * beta1, of_squares * beta2, *of_columns


def _inner(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Inner products of rows [K, P], as a column [K, 1]."""
    products: torch.Tensor = torch.linalg.vecdot(one, other)
    return products[:, None]


def _clipped(gradients: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    if not bool((limits < torch.inf).any()):
        return gradients
    finite = limits < torch.inf
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    factors = torch.where(finite, limits, 1.0) / (norms + 1e-6)
    return gradients * torch.where(finite & (factors < 1.0), factors, 1.0)
