"""The learning rate as something that descends too, while a network trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metatune.networks.checkpoints import Tensors


class OnlineRate:
    """Hypergradient descent on the learning rates of K networks (Baydin et al. 2018), in its
    multiplicative form (section 4): before each update the learning rate is multiplied by
    1 + s cos, where cos is between the gradient now and the way that the last update went, and s
    the `sensitivities` [K, 1]. With 0 it stays as it is.

    `multipliers` [K, 1] are what has become of the learning rates, `previous` [K, P] the weights
    before the last update; both are changed in place.
    """

    def __init__(
        self, sensitivities: torch.Tensor, multipliers: torch.Tensor, previous: torch.Tensor
    ) -> None:
        self.sensitivities, self.multipliers, self.previous = sensitivities, multipliers, previous

    @classmethod
    def of(cls, sensitivity: float, weights: Sequence[torch.Tensor]) -> OnlineRate:
        """That of one network with these weights, before its first update."""
        previous = flat(weights)
        ones = torch.ones(1, 1, dtype=previous.dtype)
        return cls(ones * sensitivity, ones, previous)

    @torch.no_grad()
    def adapt(self, weights: torch.Tensor, gradients: torch.Tensor) -> None:
        """Take in the weights [K, P] as they are before an update, and its gradients [K, P]."""
        way = torch.sub(self.previous, weights, out=self.previous)
        norms = way.norm(dim=1, keepdim=True) * gradients.norm(dim=1, keepdim=True)
        inner = torch.linalg.vecdot(way, gradients)[:, None]
        # Nothing is known before the second update, or where a gradient is zero.
        cosines = torch.where(norms > 0, inner / norms, 0.0)
        self.multipliers.mul_(1.0 + self.sensitivities * cosines)
        self.previous.copy_(weights)

    def tensors(self) -> Tensors:
        """What goes on from here needs."""
        return {"multipliers": self.multipliers, "previous": self.previous}


def flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The elements of some tensors in one row: [1, P]."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])[None]
