"""Learning rates that differ from layer to layer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from torch import nn

from metatune.networks.initializers import Layer


@dataclass(frozen=True)
class Run:
    """Neighbouring parameters of one learning rate: their names, how many weights they have, and
    what the learning rate is multiplied by."""

    names: tuple[str, ...]
    count: int
    multiplier: float


def depth_shares(network: nn.Module) -> dict[str, float]:
    """For each parameter, by name, 1 in the first linear or convolutional layer, 0 in the last,
    and in equal steps between; what is no such layer counts as the one before it."""
    total = sum(isinstance(module, Layer) for module in network.modules())
    shares, passed = {}, 0
    for prefix, module in network.named_modules():
        passed += isinstance(module, Layer)
        share = (total - max(passed, 1)) / (total - 1) if total > 1 else 0.0
        for name, _ in module.named_parameters(prefix, recurse=False):
            shares[name] = share
    return shares


def runs(network: nn.Module, ratio: float) -> list[Run]:
    """The parameters of a network in order, with learning rates multiplied by `ratio` in the first
    layer, by 1 in the last, and geometrically between."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    shares = depth_shares(network)
    found = []
    for multiplier, group in groupby(sizes, lambda name: float(ratio ** shares[name])):
        names = tuple(group)
        found.append(Run(names, sum(sizes[name] for name in names), multiplier))
    return found
