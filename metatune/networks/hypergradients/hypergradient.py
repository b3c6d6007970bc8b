"""Hypergradients: how validation losses change with the hyperparameters of training.

Training is unrolled and differentiated (Maclaurin et al. 2015; Franceschi et al. 2017), that of K
networks at once: they are independent, so that the gradient of the sum of their losses holds every
one's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.autograd import forward_ad

from metatune.networks.hypergradients.unrolling import State, Unrolling
from metatune.networks.training import Training

Mode = Literal["reverse", "forward"]


@dataclass(frozen=True)
class Hypergradients:
    """Validation losses [K] and the spreads of predictions [K] (see `unrolling.Predicted`), and the
    derivatives [K] of the losses with respect to each hyperparameter by name. For a network without
    that hyperparameter they mean nothing."""

    losses: torch.Tensor
    spreads: torch.Tensor
    gradients: dict[str, torch.Tensor]


def hypergradients(
    trainings: Sequence[Training],
    names: Sequence[str],
    steps: int = 20,
    mode: Mode = "reverse",
    truncation: int | None = None,
) -> Hypergradients:
    """The validation losses of some networks after their first `steps` steps, and the derivatives
    with respect to the hyperparameters `names` (see `hyperparameters`).

    All have the same architecture, batch size, loss and update rule, and have not begun. "reverse"
    keeps all steps in memory, and costs the same for any number of hyperparameters; with
    `truncation` only what happens in the last steps from a multiple of it counts (Shaban et al.
    2019). "forward" keeps nothing, and costs as much again for each hyperparameter.
    """
    unrolling = Unrolling(trainings)
    values = {name: unrolling.values(name) for name in names}
    if mode == "forward":
        return forward(unrolling, values, steps)
    *_, last = windows(unrolling, values, steps, truncation or steps)
    return last


def windows(
    unrolling: Unrolling, values: Mapping[str, torch.Tensor], steps: int, length: int
) -> Iterator[Hypergradients]:
    """Unroll `steps` steps in windows of `length`: for each the validation losses at its end, and
    how they change with what the hyperparameters are within the window."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
    state = unrolling.start(leaves)
    while state.step < steps:
        state = unrolling.after(state, leaves, min(length, steps - state.step))
        now = unrolling.predict(state)
        found = torch.autograd.grad(now.losses.sum(), list(leaves.values()), materialize_grads=True)
        gradients = dict(zip(leaves, found, strict=True))
        yield Hypergradients(now.losses.detach(), now.spreads, gradients)
        state = state.detached()


def forward(unrolling: Unrolling, values: Mapping[str, torch.Tensor], steps: int) -> Hypergradients:
    """The same for all steps at once by forward differentiation, one hyperparameter at a time."""
    gradients = {}
    losses = spreads = torch.empty(0)
    for name, value in values.items():
        with warnings.catch_warnings(), forward_ad.dual_level():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of its own parts
            one = torch.ones_like(value)
            dual = forward_ad.make_dual(value, one)  # type: ignore[no-untyped-call]
            given = {**values, name: dual}
            state = unrolling.after(unrolling.start(given), given, steps, backward=False)
            now = unrolling.predict(state)
            losses, found = forward_ad.unpack_dual(now.losses)  # type: ignore[no-untyped-call]
            spreads = now.spreads
            gradients[name] = torch.zeros_like(losses) if found is None else found.detach()
    return Hypergradients(losses.detach(), spreads.detach(), gradients)


def plain_losses(
    unrolling: Unrolling, values: Mapping[str, torch.Tensor], steps: int
) -> torch.Tensor:
    """Validation losses [K] after so many steps, without derivatives."""
    state: State = unrolling.start(values)
    while state.step < steps:
        state = unrolling.after(state, values, 1, backward=False).detached()
    return unrolling.predict(state).losses.detach()
