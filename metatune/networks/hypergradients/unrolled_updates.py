"""Update rules as functions, which can be differentiated: the rules of `updates`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
) -> tuple[torch.Tensor, States]:
    """Weights [K, P] and states after update number `step`, counted from 1, by the rule `name`."""
    gradients = _clipped(gradients, columns.limits)
    if name == "adamw":
        weights = weights * (1.0 - columns.rates * columns.decay)
    else:
        gradients = gradients + weights * columns.decay
    if name == "sgd":
        return _descended(weights, gradients, states, columns)
    return _adapted(weights, gradients, states, columns, step)


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
    states: Sequence[torch.Tensor],
    columns: Columns,
    step: int,
) -> tuple[torch.Tensor, States]:
    average = torch.lerp(states[0], gradients, 1.0 - columns.beta1)
    squares = torch.lerp(states[1], gradients * gradients, 1.0 - columns.beta2)
    # The square root has no derivative at 0, where a gradient has always been 0.
    none = squares == 0
    root = torch.where(none, 0.0, squares.masked_fill(none, 1.0).sqrt())
    spread = root / (1.0 - columns.beta2**step).sqrt() + _EPSILON
    size = columns.rates / (1.0 - columns.beta1**step)
    return weights - size * average / spread, (average, squares)


def _clipped(gradients: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    if not bool((limits < torch.inf).any()):
        return gradients
    finite = limits < torch.inf
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    factors = torch.where(finite, limits, 1.0) / (norms + 1e-6)
    return gradients * torch.where(finite & (factors < 1.0), factors, 1.0)
