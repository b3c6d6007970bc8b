"""Architectures: network modules built from a configuration.

Modules work under `torch.func`: nothing in their forward depends on the values of tensors, and
what differs between members of a population (weights, dropout rates and uniforms, running
statistics) stands in parameters and buffers. Parameters are left uninitialised (see
`initializers`), so the global random generator is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from metatune.networks.architectures.bag_of_embeddings import bag_of_embeddings
from metatune.networks.architectures.cnn import cnn
from metatune.networks.architectures.cnn1d import cnn1d
from metatune.networks.architectures.gru import gru
from metatune.networks.architectures.layers import Shape
from metatune.networks.architectures.logistic import logistic
from metatune.networks.architectures.mlp import mlp
from metatune.networks.architectures.resnet import resnet
from metatune.networks.architectures.transformer import transformer
from metatune.networks.data.tables import Kind
from metatune.networks.data.tokens import TokenShape
from metatune.networks.own_code import Predicting, is_own, own_function, own_network
from metatune.networks.settings import Settings

IMAGE_NETWORKS = ("cnn", "resnet")  # networks that take nothing but images
SIGNAL_NETWORKS = ("cnn1d", "gru")  # ... but signals
DOCUMENT_NETWORKS = ("bag_of_embeddings", "transformer")  # that take documents

_NETWORKS: Mapping[str, Callable[[Settings, Shape, int], nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "transformer": transformer,
    "logistic": logistic,
    "bag_of_embeddings": bag_of_embeddings,
    "cnn1d": cnn1d,
    "gru": gru,
}


def networks_for(shape: Shape, kind: Kind) -> list[str]:
    """The built-in networks that take inputs of a shape, for a kind of task."""
    if isinstance(shape, TokenShape):
        return list(DOCUMENT_NETWORKS)
    unfit = {*(IMAGE_NETWORKS if len(shape) != 3 else ()), "bag_of_embeddings"}
    unfit |= {*(SIGNAL_NETWORKS if len(shape) != 2 else ())}
    unfit |= {*(("logistic",) if kind == "regression" else ())}
    return [name for name in _NETWORKS if name not in unfit]


def build(settings: Settings, shape: Shape, outputs: int, seed: int = 0) -> nn.Module:
    """The network that `settings` describe, from inputs [batch, *shape] to [batch, outputs].

    `seed` is what a network of the user's draws from. Settings may name a function of the user's
    that computes its outputs (see `own_code`).
    """
    if is_own(settings["network"]):
        network = own_network(settings, shape, outputs, seed)
    else:
        fitting = DOCUMENT_NETWORKS if isinstance(shape, TokenShape) else tuple(_NETWORKS)
        network = _NETWORKS[settings.choice("network", fitting)](settings, shape, outputs)
    if "predict" in settings:
        return Predicting(network, own_function(settings, "predict"))
    return network
