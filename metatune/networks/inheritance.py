"""Weights taken over from another network of the same family, of whatever width and depth.

Layers correspond by their places in the architecture (see `layers.placed`): the input layer, the
hidden ones by position, the output layer; units and channels correspond by their number. So the
smaller network is embedded in the leading units of the larger one, as in the shared weights of
once-for-all networks (Cai et al. 2020, section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from metatune.networks.architectures.layers import Embedding
from metatune.networks.checkpoints import Tensors

# Choices of the setting `inherit`: whose weights a trial of a search begins from.
INHERITANCES = ("none", "best")
_INPUT, _OUTPUT = "input", "output"


def weights_by_place(network: nn.Module, weights: Tensors | None = None) -> Tensors:
    """Copies of all weights and running statistics of a network, by their places; of `weights`
    like those of its `state_dict`, if they are given."""
    return {name: tensor.clone() for name, tensor, _ in _placed(network, weights)}


def gradients_by_place(network: nn.Module) -> Tensors:
    """The gradients that weights of a network have, by their places."""
    return {
        f"{place}.{name}": parameter.grad
        for _, place, module in _modules(network)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def is_of_task(place: str) -> bool:
    """Whether a weight is of the first or last layer, which depend on what is learned."""
    return place.partition(".")[0] in (_INPUT, _OUTPUT)


def overlap(network: nn.Module, parent: Mapping[str, torch.Tensor]) -> list[str]:
    """Copy what `parent`, weights by their places, has in common with `network` into it; the
    names of what was copied.

    Of each layer the leading units and channels are copied, and smaller kernels into the middle of
    larger ones. The units that were copied take nothing from those that the parent lacks: those
    weights are 0, so that where all its layers have a counterpart, and nothing is normalised over
    units, the network computes what its parent does. Input layers are copied only where they see
    as many features, channels or positions.
    """
    copied = []
    for name, tensor, is_embedding in _placed(network):
        theirs = parent.get(name)
        if theirs is None or theirs.dim() != tensor.dim():
            continue
        # An embedding has its units last.
        own, other = (tensor.t(), theirs.t()) if is_embedding else (tensor, theirs)
        if _is_input(name) and own.dim() > 1 and own.shape[1] != other.shape[1]:
            continue
        _copy(own, other)
        copied.append(name)
    return copied


def scale(network: nn.Module, factors: Mapping[str, torch.Tensor]) -> None:
    """Multiply in place what stands at these places by these numbers, each a tensor []."""
    for name, tensor, _ in _placed(network):
        if name in factors:
            tensor.mul_(factors[name].to(tensor.dtype))


def _is_input(name: str) -> bool:
    return name.partition(".")[0] == _INPUT


def _copy(own: torch.Tensor, other: torch.Tensor) -> None:
    """Copy the common part of [units] or [units, inputs, *kernel] in place."""
    rows = min(own.shape[0], other.shape[0])
    if own.dim() == 1:
        own[:rows] = other[:rows].to(own.dtype)
        return
    columns = min(own.shape[1], other.shape[1])
    into, out_of = [], []
    for mine, its in zip(own.shape[2:], other.shape[2:], strict=True):
        size = min(mine, its)
        into.append(slice((mine - size) // 2, (mine - size) // 2 + size))
        out_of.append(slice((its - size) // 2, (its - size) // 2 + size))
    own[:rows] = 0.0
    common = other[(slice(rows), slice(columns), *out_of)]
    own[(slice(rows), slice(columns), *into)] = common.to(own.dtype)


def _placed(
    network: nn.Module, weights: Tensors | None = None
) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Weights and running statistics of a network, which share its memory, under the names of
    their places, and whether each is an embedding; or others in their stead."""
    for path, place, module in _modules(network):
        for name, own in module.state_dict().items():
            if own.is_floating_point():
                tensor = own if weights is None else weights[f"{path}.{name}"]
                owner = module.get_submodule(name.rpartition(".")[0])
                yield f"{place}.{name}", tensor, isinstance(owner, Embedding)


def _modules(network: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """The modules that have a place: their names in the network, and their places."""
    for path, module in network.named_modules():
        if (place := vars(module).get("place")) is not None:
            yield path, place, module
