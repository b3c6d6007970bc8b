"""Architectures: network modules built from a configuration.

Modules work under `torch.func`: nothing in their forward depends on the values of tensors, and
what differs between members of a population (weights, dropout rates and uniforms, running
statistics) stands in parameters and buffers. Parameters are left uninitialised (see
`initializers`), so the global random generator is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from metatune.networks.cnn import cnn
from metatune.networks.layers import Shape
from metatune.networks.mlp import mlp
from metatune.networks.resnet import resnet
from metatune.networks.settings import Settings
from metatune.networks.transformer import transformer

IMAGE_NETWORKS = ("cnn", "resnet")  # networks that take nothing but images

_NETWORKS: Mapping[str, Callable[[Settings, Shape, int], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "transformer": transformer,
}


def build(settings: Settings, shape: Shape, outputs: int) -> nn.Module:
    """The network that `settings` describe, from inputs [batch, *shape] to [batch, outputs]."""
    return _NETWORKS[settings.choice("network", _NETWORKS)](settings, shape, outputs)
