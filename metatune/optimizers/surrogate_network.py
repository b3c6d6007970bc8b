"""A small ensemble of neural networks as a surrogate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from metatune.optimizers.surrogate import Scale, Trust, filled
from metatune.parameters import Vectors

_WIDTH = 32
_RATE, _DECAY = 0.02, 1e-3
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class NetworkSurrogate:
    """`members` networks of two hidden layers (Lakshminarayanan et al. 2017), trained at a time by
    `steps` of Adam on all points, each with a tenth of the labels left out and begun at random.

    What they expect is believed as far as they predict what they left out; the variance is that
    between the members plus their mean squared error there.
    """

    members: int = 8
    steps: int = 150

    def __str__(self) -> str:
        return f"network(members={self.members}, steps={self.steps})"

    def fit(self, points: Vectors, labels: Vectors, seed: int) -> FittedNetworks:
        """See Surrogate."""
        scale = Scale.of(labels)
        inputs = _centred(points)
        targets = torch.from_numpy(scale.standardised(labels))
        generator = torch.Generator().manual_seed(seed)
        layers = _layers(self.members, inputs.shape[1], generator)
        left_out = _left_out(self.members, len(targets), generator)
        kept = (~left_out).double()
        optimizer = torch.optim.AdamW(layers, _RATE, weight_decay=_DECAY)
        with torch.enable_grad():
            for step in range(self.steps):
                optimizer.param_groups[0]["lr"] = _RATE * (1.0 - step / self.steps)
                optimizer.zero_grad()
                wrong = (_outputs(layers, inputs) - targets) ** 2
                (wrong * kept).sum(1).div(kept.sum(1)).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        fitted = [layer.detach() for layer in layers]
        expected = _outputs(fitted, inputs)[left_out].numpy()
        measured = targets.expand(self.members, -1)[left_out].numpy()
        return FittedNetworks(fitted, Trust.of(expected, measured), scale)


@dataclass(frozen=True)
class FittedNetworks:
    """Networks of standardised labels."""

    layers: list[torch.Tensor]
    trust: Trust
    scale: Scale

    def predict(self, points: Vectors) -> tuple[Vectors, Vectors]:
        """See Fitted."""
        means = self.trust.slope * _outputs(self.layers, _centred(points)).numpy()
        variance = means.var(axis=0) + self.trust.error + _LEAST_VARIANCE
        return self.scale.restored(means.mean(axis=0), np.sqrt(variance))


def _centred(points: Vectors) -> torch.Tensor:
    return torch.from_numpy(2.0 * filled(points) - 1.0)


def _layers(members: int, inputs: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Weights [E, in, out] and biases [E, 1, out] of three layers, the last of which is small."""
    sizes = ((inputs, _WIDTH, 1.0), (_WIDTH, _WIDTH, 1.0), (_WIDTH, 1, 0.3))
    layers = []
    for rows, columns, gain in sizes:
        for shape, scale in (((rows, columns), gain / math.sqrt(rows)), ((1, columns), gain)):
            drawn = torch.randn(members, *shape, generator=generator, dtype=torch.float64)
            layers.append((scale * drawn).requires_grad_())
    return layers


def _left_out(members: int, rows: int, generator: torch.Generator) -> torch.Tensor:
    """Which rows [E, n] each member does not see: a tenth, and never all."""
    order = torch.stack([torch.randperm(rows, generator=generator) for _ in range(members)])
    return order < math.ceil(rows / 10) if rows > 2 else torch.zeros(members, rows).bool()


def _outputs(layers: list[torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """What each network says [E, n] of inputs [n, d]."""
    first, b1, second, b2, third, b3 = layers
    hidden = torch.tanh(inputs @ first + b1)
    hidden = torch.tanh(hidden @ second + b2)
    return (hidden @ third + b3).squeeze(2)
