"""Update rules: how gradients change weights, for one network or for many at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from metatune.networks.layer_rates import Run
from metatune.networks.online_rate import OnlineRate
from metatune.networks.own_code import is_own
from metatune.networks.own_updates import OwnUpdate
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
    """One of torch's optimizers and its hyperparameters, but for the learning rate; or a rule of
    the user's, `own`, which has others."""

    name: str
    weight_decay: float
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.0
    beta2: float = 0.0
    own: OwnUpdate | None = None

    @classmethod
    def read(cls, settings: Settings) -> UpdateRule:
        """The rule that `settings` name."""
        if is_own(settings["optimizer"]):
            return cls(str(settings["optimizer"]), 0.0, own=OwnUpdate.read(settings))
        name = settings.choice("optimizer", STATES)
        decay = settings.number("weight_decay", 0.0)
        if name == "sgd":
            momentum = settings.number("momentum", 0.0, 1.0)
            return cls(name, decay, momentum, settings.flag("nesterov") and momentum > 0.0)
        beta1, beta2 = (settings.number(beta, 0.0, 0.999999) for beta in ("beta1", "beta2"))
        return cls(name, decay, beta1=beta1, beta2=beta2)

    @property
    def states(self) -> tuple[str, ...]:
        """What it keeps beside the weights, by name."""
        return STATES[self.name] if self.own is None else self.own.states

    def update(
        self,
        weights: list[torch.Tensor],
        gradients: list[torch.Tensor],
        states: Sequence[list[torch.Tensor]],
        count: torch.Tensor,
        rate: float,
    ) -> None:
        """Change weights and states, for each of its names one to each of the weights, in place:
        torch's rules by the kernels that torch.optim calls with `fused=True`. `count` [] is how
        many updates there were with this one."""
        if self.own is not None:
            self.own.update(weights, gradients, states, rate)
            return
        if self.name == "sgd":
            torch._fused_sgd_(
                weights,
                gradients,
                states[0] if self.momentum > 0.0 else [],
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
                is_first_step=False,
            )
            return
        kernel = torch._fused_adam_ if self.name == "adam" else torch._fused_adamw_
        kernel(
            weights,
            gradients,
            states[0],
            states[1],
            [],
            [count] * len(weights),
            lr=rate,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=self.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )


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
    `limits` are the gradient norms [K] that members are clipped to, infinite for none, and `runs`
    what learning rates are multiplied by along each row. For use on the same tensors again and
    again.
    """

    def __init__(
        self,
        rules: Sequence[UpdateRule],
        limits: Sequence[float],
        like: torch.Tensor,
        runs: Sequence[Sequence[Run]] | None = None,
    ) -> None:
        whole = [Run((), like.shape[1], 1.0)]
        self._rules, self._runs = rules, [whole] * len(rules) if runs is None else runs
        clips = min(limits) < math.inf
        self._limits = torch.tensor(limits, dtype=like.dtype)[:, None] if clips else None
        self._parts: list[list[_Part]] = []

    def prepare(self, rates: torch.Tensor, steps: torch.Tensor) -> None:
        """See Update."""
        self._rates, self._steps = rates[:, 0].tolist(), steps

    def __call__(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """See Update."""
        if self._limits is not None:
            gradients = clipped(gradients, self._limits)
        if not self._parts:
            self._parts = [self._cut(row, weights, states) for row in range(len(weights))]
        for rule, parts, count, gradient, rate in zip(
            self._rules, self._parts, self._steps, gradients, self._rates, strict=True
        ):
            for part in parts:
                piece = gradient if len(parts) == 1 else gradient[part.place]
                rule.update([part.weight], [piece], part.states, count[0], rate * part.multiplier)

    def _cut(self, row: int, weights: torch.Tensor, states: Sequence[torch.Tensor]) -> list[_Part]:
        """What is updated with one learning rate in a row."""
        parts, start = [], 0
        for run in self._runs[row]:
            place = slice(start, start + run.count)
            kept = [[state[row, place]] for state in states]
            parts.append(_Part(place, run.multiplier, weights[row, place], kept))
            start += run.count
        return parts


@dataclass(frozen=True)
class _Part:
    """A run of the weights of one network, as views."""

    place: slice
    multiplier: float
    weight: torch.Tensor
    states: list[list[torch.Tensor]]


def clipped(gradients: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Gradients [K, P] scaled down to norms of at most `limits` [K, 1], as
    torch.nn.utils.clip_grad_norm_ does."""
    norms: torch.Tensor = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    factors = (limits / (norms + 1e-6)).clamp(max=1.0)
    return gradients * factors


# The same, opaque to torch.compile, which fails to generate code for a norm of all gradients
# between the gradients and most updates (torch 2.13). Its first call takes a second of imports.
clipped_op = torch.library.custom_op("metatune::clipped", clipped, mutates_args=())


@clipped_op.register_fake
def _(gradients: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(gradients)


class StackedUpdate:
    """The same by operations on all rows at once, which can be compiled."""

    def __init__(
        self,
        rules: Sequence[UpdateRule],
        limits: Sequence[float],
        like: torch.Tensor,
        runs: Sequence[Sequence[Run]] | None = None,
    ) -> None:
        self.name = rules[0].name
        self._multipliers = None if runs is None else multipliers(runs).to(like)

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
        rates = rates if self._multipliers is None else rates * self._multipliers
        self._rates, self._left = rates, 1.0 - rates * self._decay
        self._size = rates / (1.0 - self._beta1**steps)
        self._root = (1.0 - self._beta2**steps).sqrt()

    def __call__(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """See Update."""
        if self._clips:
            gradients = clipped_op(gradients, self._limits)
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


def multipliers(runs: Sequence[Sequence[Run]]) -> torch.Tensor:
    """What the learning rate of each weight is multiplied by: [K, P] in float64."""
    values = [[run.multiplier for run in of_row] for of_row in runs]
    counts = [[run.count for run in of_row] for of_row in runs]
    rows = [
        torch.tensor(value, dtype=torch.float64).repeat_interleave(torch.tensor(count))
        for value, count in zip(values, counts, strict=True)
    ]
    return torch.stack(rows)


class OnlineUpdate:
    """An update with learning rates that follow the gradients (see OnlineRate)."""

    def __init__(self, update: Update, online: OnlineRate) -> None:
        self._update, self._online = update, online

    def prepare(self, rates: torch.Tensor, steps: torch.Tensor) -> None:
        """See Update."""
        self._rates, self._steps = rates, steps

    def __call__(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """See Update."""
        self._online.adapt(weights, gradients)
        self._update.prepare(self._rates * self._online.multipliers, self._steps)
        self._update(weights, gradients, states)
