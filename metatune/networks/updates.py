"""Update rules: how gradients change weights, for one network or for many at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from metatune.networks.settings import Settings

_EPSILON = 1e-8
# What each rule keeps beside the weights, by torch's names.
STATES: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum_buffer",),
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
}


@dataclass(frozen=True)
class UpdateRule:
    """One of torch's optimizers and its hyperparameters, but for the learning rate."""

    name: str
    weight_decay: float
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.0
    beta2: float = 0.0

    @classmethod
    def read(cls, settings: Settings) -> UpdateRule:
        """The rule that `settings` name."""
        name = settings.choice("optimizer", STATES)
        decay = settings.number("weight_decay", 0.0)
        if name == "sgd":
            momentum = settings.number("momentum", 0.0, 1.0)
            return cls(name, decay, momentum, settings.flag("nesterov") and momentum > 0.0)
        beta1, beta2 = (settings.number(beta, 0.0, 0.999999) for beta in ("beta1", "beta2"))
        return cls(name, decay, beta1=beta1, beta2=beta2)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Torch's optimizer of some parameters; its learning rate is to be set before a step."""
        if self.name == "sgd":
            return torch.optim.SGD(
                parameters,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
                fused=True,
            )
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        betas = (self.beta1, self.beta2)
        return kind(parameters, betas=betas, weight_decay=self.weight_decay, fused=True)


class Update(Protocol):
    """How the weights of K networks change in one step, each by a rule of its own."""

    def prepare(self, rates: torch.Tensor, steps: torch.Tensor) -> None:
        """Take in learning rates [K, 1], and how many updates each network has had with the
        coming one [K, 1]."""
        ...

    def __call__(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """Change weights [K, P] and states, each [K, P], in place, by gradients [K, P]."""
        ...


class RowwiseUpdate:
    """The update of K networks by rules of one name, row by row.

    On a processor each row then stays in its cache, and rounds as torch's own optimizer rounds.
    `limits` are the gradient norms [K] that members are clipped to, infinite for none. For use on
    the same tensors again and again.
    """

    def __init__(self, rules: Sequence[UpdateRule], limits: Sequence[float], like: torch.Tensor):
        self._rules = rules
        clips = min(limits) < math.inf
        self._limits = torch.tensor(limits, dtype=like.dtype)[:, None] if clips else None
        self._rows: list[tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]] = []

    def prepare(self, rates: torch.Tensor, steps: torch.Tensor) -> None:
        """See Update."""
        self._rates, self._steps = rates[:, 0].tolist(), steps

    def __call__(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """See Update."""
        if self._limits is not None:
            gradients = clipped(gradients, self._limits)
        if not self._rows:
            kept = zip(*(state.unbind() for state in states), strict=True)
            rows = zip(weights.unbind(), kept, self._steps[:, 0].unbind(), strict=True)
            self._rows = [(weight, list(state), step) for weight, state, step in rows]
        lines = zip(self._rules, self._rows, gradients.unbind(), self._rates, strict=True)
        for rule, (weight, state, step), gradient, rate in lines:
            _update_row(rule, weight, gradient, state, step, rate)


def _update_row(
    rule: UpdateRule,
    weight: torch.Tensor,
    gradient: torch.Tensor,
    state: list[torch.Tensor],
    step: torch.Tensor,
    rate: float,
) -> None:
    """By the kernels that torch.optim calls with `fused=True`."""
    if rule.name == "sgd":
        torch._fused_sgd_(
            [weight],
            [gradient],
            state if rule.momentum > 0.0 else [],
            weight_decay=rule.weight_decay,
            momentum=rule.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=rule.nesterov,
            maximize=False,
            is_first_step=False,
        )
        return
    kernel = torch._fused_adam_ if rule.name == "adam" else torch._fused_adamw_
    kernel(
        [weight],
        [gradient],
        state[:1],
        state[1:],
        [],
        [step],
        lr=rate,
        beta1=rule.beta1,
        beta2=rule.beta2,
        weight_decay=rule.weight_decay,
        eps=_EPSILON,
        amsgrad=False,
        maximize=False,
    )


# Opaque to torch.compile, which fails to generate code for a norm of all gradients between the
# gradients and most updates (torch 2.13).
@torch.library.custom_op("metatune::clipped", mutates_args=())
def clipped(gradients: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Gradients [K, P] scaled down to norms of at most `limits` [K, 1], as
    torch.nn.utils.clip_grad_norm_ does."""
    norms: torch.Tensor = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    factors = (limits / (norms + 1e-6)).clamp(max=1.0)
    return gradients * factors


@clipped.register_fake
def _(gradients: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(gradients)


class StackedUpdate:
    """The same by operations on all rows at once, which can be compiled."""

    def __init__(self, rules: Sequence[UpdateRule], limits: Sequence[float], like: torch.Tensor):
        self.name = rules[0].name

        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]

        self._decay = column([rule.weight_decay for rule in rules])
        self._momentum = column([rule.momentum for rule in rules])
        self._nesterov = column([rule.nesterov for rule in rules]) > 0.0
        self._beta1 = column([rule.beta1 for rule in rules])
        self._beta2 = column([rule.beta2 for rule in rules])
        self._limits = column(limits)
        self._clips = bool((self._limits < torch.inf).any())
        self._looks_ahead = bool(self._nesterov.any())

    def prepare(self, rates: torch.Tensor, steps: torch.Tensor) -> None:
        """See Update; a compiled update would compute these columns again for every weight."""
        self._rates, self._left = rates, 1.0 - rates * self._decay
        self._size = rates / (1.0 - self._beta1**steps)
        self._root = (1.0 - self._beta2**steps).sqrt()

    def __call__(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """See Update."""
        if self._clips:
            gradients = clipped(gradients, self._limits)
        if self.name == "adamw":
            weights.mul_(self._left)
        else:
            gradients = gradients + weights * self._decay
        if self.name == "sgd":
            self._descend(weights, gradients, states[0])
        else:
            self._adapt(weights, gradients, states)

    def _descend(
        self, weights: torch.Tensor, gradients: torch.Tensor, velocity: torch.Tensor
    ) -> None:
        """Stochastic gradient descent with momentum (Sutskever et al. 2013)."""
        velocity.mul_(self._momentum).add_(gradients)
        direction = velocity
        if self._looks_ahead:
            ahead = gradients + velocity * self._momentum
            direction = torch.where(self._nesterov, ahead, velocity)
        weights.sub_(direction * self._rates)

    def _adapt(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1), decayed before or by its gradient."""
        average, squares = states
        average.lerp_(gradients, 1.0 - self._beta1)
        squares.mul_(self._beta2).addcmul_(gradients * (1.0 - self._beta2), gradients)
        spread = squares.sqrt().div_(self._root).add_(_EPSILON)
        weights.addcdiv_(average * self._size, spread, value=-1.0)
