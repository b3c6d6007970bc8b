"""Layers of many networks at once, written out for those that multi-layer perceptrons are made of.

torch.func.vmap computes any network, but takes 1.2 to 1.5 times as long for small ones of these: it
adds biases in a pass of their own, and each operation costs more before it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from metatune.networks.architectures.layers import ACTIVATIONS, Dropout, Linear
from metatune.networks.architectures.mlp import Residual
from metatune.networks.hypergradients.differentiable import HeldDropout

Named = Mapping[str, torch.Tensor]


def is_written_out(network: nn.Module) -> bool:
    """Whether `outputs` computes networks like this one: rows of layers, a Flatten first, each
    exactly one of those below, and without forward hooks."""
    if type(network) is not nn.Sequential or type(next(network.children(), None)) is not nn.Flatten:
        return False
    modules = dict(network.named_modules(remove_duplicate=False)).values()
    return len(modules) == len(set(modules)) and all(map(_is_known, modules))


def outputs(network: nn.Module, tensors: Named, inputs: torch.Tensor) -> torch.Tensor:
    """Outputs [K, n, outputs] of K networks like `network`, which also says whether they are being
    trained: each for its own inputs [K, n, ...], with its own of `tensors` [K, ...], which are
    weights, buffers and uniforms by name."""
    return through(network, "", tensors, inputs.flatten(2).mT).mT


def through(row: nn.Module, place: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    """What becomes of x [K, features, n] in a row of layers that is named `place`. Features come
    before inputs, so that gradients of weights need no copies."""
    for name, layer in row.named_children():
        at = f"{place}{name}"
        written_out = _LAYERS.get(type(layer))
        # What is not written out works element by element.
        x = layer(x) if written_out is None else written_out(layer, at, tensors, x)
    return x


def _is_known(layer: nn.Module) -> bool:
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
        return False
    if isinstance(layer, Residual) and type(layer.branch) is not nn.Sequential:
        return False
    if isinstance(layer, nn.BatchNorm1d) and (
        not (layer.affine and layer.track_running_stats) or layer.momentum is None
    ):
        return False
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm) and (
        not layer.elementwise_affine or len(layer.normalized_shape) > 1
    ):
        return False
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) != (1, -1):
        return False
    return type(layer) in (*_LAYERS, *_ELEMENTWISE)


def _linear(layer: Any, at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    weight = tensors[f"{at}.weight"]
    if layer.bias is None:
        return torch.bmm(weight, x)
    return torch.baddbmm(tensors[f"{at}.bias"][:, :, None], weight, x)


def _batch_norm(layer: Any, at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    if layer.training:
        tensors[f"{at}.num_batches_tracked"].add_(1)
    # The channels of all networks are those of one; running statistics change in place.
    return functional.batch_norm(
        x.reshape(1, -1, x.shape[2]),
        tensors[f"{at}.running_mean"].view(-1),
        tensors[f"{at}.running_var"].view(-1),
        tensors[f"{at}.weight"].reshape(-1),
        tensors[f"{at}.bias"].reshape(-1),
        layer.training,
        layer.momentum,
        layer.eps,
    ).view(x.shape)


def _layer_norm(layer: Any, at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    scaled: torch.Tensor = (
        (x - mean) * (variance + layer.eps).rsqrt() * tensors[f"{at}.weight"][:, :, None]
    )
    return scaled + tensors[f"{at}.bias"][:, :, None] if layer.bias is not None else scaled


def _rms_norm(layer: Any, at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    least = torch.finfo(x.dtype).eps if layer.eps is None else layer.eps
    size = (x.square().mean(1, keepdim=True) + least).rsqrt()
    return x * size * tensors[f"{at}.weight"][:, :, None]


def _dropout(layer: Any, at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    return x * _factors(at, tensors, x) if layer.training else x


def _held_dropout(layer: Any, at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    if not layer.training:
        return x
    relative = tensors[f"{at}.relative"][:, None, None]
    return x * (1.0 + (_factors(at, tensors, x) - 1.0) * relative)


def _factors(at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    """What dropout multiplies x [K, features, n] by; its uniforms are [K, n, features]."""
    rates = tensors[f"{at}.rate"][:, None, None]
    kept = (tensors[f"{at}.uniforms"] >= rates).mT.contiguous()
    return kept.to(x.dtype) / (1.0 - rates)


def _residual(layer: Any, at: str, tensors: Named, x: torch.Tensor) -> torch.Tensor:
    return x + through(layer.branch, f"{at}.branch.", tensors, x)


_LAYERS: Mapping[type[nn.Module], Callable[[Any, str, Named, torch.Tensor], torch.Tensor]] = {
    nn.Sequential: lambda layer, at, tensors, x: through(layer, f"{at}.", tensors, x),
    nn.Linear: _linear,
    Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    Dropout: _dropout,
    HeldDropout: _held_dropout,
    Residual: _residual,
    nn.Flatten: lambda layer, at, tensors, x: x,
}
_ELEMENTWISE = (*ACTIVATIONS.values(), nn.Identity)
