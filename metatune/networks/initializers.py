"""Initializers: the weights a network starts from, drawn from a given generator alone.

Weights of linear and convolutional layers are drawn as `initializer` says and multiplied by
`initializer_gain` (not asked for by "default"); their biases are 0 but for "default". Embeddings
are uniform within 1 / sqrt(width) under every name (as in FT-Transformer, Gorishniy et al. 2021).
Other parameters, those of normalizations, keep what their layers start with. "gradinit" draws as
"kaiming" and "learned" as "default" does, without a gain; the first is then scaled (see `gradinit`)
by the training that knows the loss, and the second takes over what was learned on other tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import nn

from metatune.networks.architectures.layers import Embedding
from metatune.networks.checkpoints import under
from metatune.networks.inheritance import overlap, scale
from metatune.networks.learned import NOTHING, Learned
from metatune.networks.settings import Settings

Layer = nn.Linear | nn.Conv2d
LEARNED = "learned"
SCALES = "scales"  # under this name stand factors of layers that are drawn for each task
_WITHOUT_GAIN = ("default", "gradinit", LEARNED)
_NOT_LEARNED = (
    "a built-in one, for none was learned for this network; `metatune learn --initialization "
    "SPACE` learns one"
)


def initialize(
    network: nn.Module,
    settings: Settings,
    generator: torch.Generator,
    inputs: torch.Tensor,
    learned: Learned = NOTHING,
) -> None:
    """Set every weight and bias of `network` in place.

    `inputs` [n, *shape] is a batch of training inputs, which "lsuv" measures on; `learned` holds
    the choices beside the built-in ones. Raises ConfigurationError for a name that is neither.
    """
    chosen = settings.choice("initializer", (*INITIALIZERS, LEARNED))
    known = learned.initializations.get(chosen, {})
    begun = under(str(settings["network"]), known) if chosen == LEARNED else {}
    if chosen == LEARNED and not begun:
        raise settings.error("initializer", _NOT_LEARNED)
    name = "default" if chosen == LEARNED else chosen
    gain = 1.0 if chosen in _WITHOUT_GAIN else settings.number("initializer_gain", 1e-6, 1e6)
    with torch.no_grad():
        for layer in layers(network):
            INITIALIZERS[name](layer, gain, generator)
        for embedding in (m for m in network.modules() if isinstance(m, Embedding)):
            bound = 1 / math.sqrt(embedding.weight.shape[1])
            embedding.weight.uniform_(-bound, bound, generator=generator)
        if name == "lsuv":
            _unit_variance(network, gain, inputs)
        if chosen == "learned":
            scale(network, under(SCALES, begun))
            overlap(network, begun)


def layers(network: nn.Module) -> list[Layer]:
    """The linear and convolutional layers of a network, in order."""
    return [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def _default(layer: Layer, gain: float, generator: torch.Generator) -> None:
    """PyTorch's own: weights and biases uniform within 1 / sqrt(fan_in)."""
    bound = gain / math.sqrt(layer.weight[0].numel())
    layer.weight.uniform_(-bound, bound, generator=generator)
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=generator)


def _kaiming(layer: Layer, gain: float, generator: torch.Generator) -> None:
    """Normal with variance 2 / fan_in (He et al. 2015, eq. 10)."""
    layer.weight.normal_(0.0, gain * math.sqrt(2 / layer.weight[0].numel()), generator=generator)
    _zero_bias(layer)


def _xavier(layer: Layer, gain: float, generator: torch.Generator) -> None:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 16)."""
    nn.init.xavier_uniform_(layer.weight, gain, generator=generator)
    _zero_bias(layer)


def _orthogonal(layer: Layer, gain: float, generator: torch.Generator) -> None:
    """Orthonormal rows or columns (Saxe et al. 2014)."""
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    _zero_bias(layer)


def _zero_bias(layer: Layer) -> None:
    if layer.bias is not None:
        layer.bias.zero_()


def _unit_variance(network: nn.Module, gain: float, inputs: torch.Tensor) -> None:
    """Layer-sequential unit variance (Mishkin & Matas 2016, algorithm 1): scale orthonormal
    weights so that each layer's output has standard deviation `gain` on `inputs`.

    One pass is exact, since a layer without bias is linear in its weights. Dropout is off and
    batch normalization an identity meanwhile.
    """

    def rescaled(layer: Layer, output: torch.Tensor) -> torch.Tensor:
        deviation = output.std(correction=0)
        scale = torch.where(deviation > 0, gain / deviation, 1.0)
        layer.weight.mul_(scale)
        return output * scale

    hooks = [
        layer.register_forward_hook(lambda _, __, output, layer=layer: rescaled(layer, output))
        for layer in layers(network)
    ]
    was_training = network.training
    network.eval()
    network(inputs)
    network.train(was_training)
    for hook in hooks:
        hook.remove()


INITIALIZERS: Mapping[str, Callable[[Layer, float, torch.Generator], None]] = {
    "default": _default,
    "kaiming": _kaiming,
    "xavier": _xavier,
    "orthogonal": _orthogonal,
    "lsuv": _orthogonal,
    "gradinit": _kaiming,
}
