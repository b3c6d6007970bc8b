"""How the weights of one network change in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from metatune.networks.checkpoints import Tensors
from metatune.networks.layer_rates import Run
from metatune.networks.updates import UpdateRule


class NetworkUpdate:
    """The update of the weights of a network by a rule, each with the learning rate of its run.

    It rounds as torch's own optimizers with `fused=True` do, without what these do around their
    kernels, which takes longer than the kernels where networks are small. `states` are what the
    rule keeps beside the weights: by its names for them, tensors by the names of the weights.
    `count` [] is how many updates there were. Both start at zero where they are not given.
    """

    def __init__(
        self,
        rule: UpdateRule,
        network: nn.Module,
        runs: Sequence[Run],
        states: Mapping[str, Tensors] | None = None,
        count: torch.Tensor | None = None,
    ) -> None:
        weights = dict(network.named_parameters())
        if states is None:
            states = {
                kind: {name: torch.zeros_like(weight.detach()) for name, weight in weights.items()}
                for kind in rule.states
            }
        self.states, self.count = states, torch.zeros(()) if count is None else count
        self._rule = rule
        self._runs = [
            (
                run.multiplier,
                [(weights[n], *(states[kind][n] for kind in rule.states)) for n in run.names],
            )
            for run in runs
        ]

    @torch.no_grad()
    def __call__(self, rate: float) -> None:
        """Change the weights that have a gradient, and the states, in place."""
        self.count += 1
        for multiplier, every in self._runs:
            known = [(one[0], one[0].grad, *one[1:]) for one in every if one[0].grad is not None]
            if not known:
                continue
            weights, gradients, *states = (list(column) for column in zip(*known, strict=True))
            self._rule.update(weights, gradients, states, self.count, rate * multiplier)


def clip(weights: Sequence[torch.Tensor], limit: float) -> None:
    """Scale the gradients of some weights down to a norm of at most `limit` together, as
    torch.nn.utils.clip_grad_norm_ does, in half of its time."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
