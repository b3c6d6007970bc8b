"""Update rules: how gradients change weights, for one network or for many at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


class StackedUpdate:
    """The update of K networks by rules of one name, each with its own hyperparameters.

    `limits` are the gradient norms [K] that members are clipped to, infinite for none.
    """

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

    def __call__(
        self,
        weights: torch.Tensor,
        gradients: torch.Tensor,
        states: Sequence[torch.Tensor],
        rates: torch.Tensor,
        steps: torch.Tensor,
    ) -> None:
        """Change weights [K, P] and `states`, each [K, P], in place.

        `rates` [K, 1] are learning rates, `steps` [K, 1] how many updates each member has had with
        this one.
        """
        if self._clips:  # as torch.nn.utils.clip_grad_norm_
            norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
            gradients = gradients * (self._limits / (norms + 1e-6)).clamp(max=1.0)
        if self.name == "adamw":
            weights.mul_(1.0 - rates * self._decay)
        else:
            gradients = gradients + weights * self._decay
        if self.name == "sgd":
            self._descend(weights, gradients, states[0], rates)
        else:
            self._adapt(weights, gradients, states, rates, steps)

    def _descend(
        self,
        weights: torch.Tensor,
        gradients: torch.Tensor,
        velocity: torch.Tensor,
        rates: torch.Tensor,
    ) -> None:
        """Stochastic gradient descent with momentum (Sutskever et al. 2013)."""
        velocity.mul_(self._momentum).add_(gradients)
        direction = velocity
        if self._looks_ahead:
            ahead = gradients + velocity * self._momentum
            direction = torch.where(self._nesterov, ahead, velocity)
        weights.sub_(direction * rates)

    def _adapt(
        self,
        weights: torch.Tensor,
        gradients: torch.Tensor,
        states: Sequence[torch.Tensor],
        rates: torch.Tensor,
        steps: torch.Tensor,
    ) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1), decayed before or by its gradient."""
        average, squares = states
        average.lerp_(gradients, 1.0 - self._beta1)
        squares.mul_(self._beta2).addcmul_(gradients * (1.0 - self._beta2), gradients)
        root = (1.0 - self._beta2**steps).sqrt()
        size = rates / (1.0 - self._beta1**steps)
        weights.addcdiv_(average * size, squares.sqrt().div_(root).add_(_EPSILON), value=-1.0)
