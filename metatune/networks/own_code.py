"""Functions of the user's in place of ours: a setting whose value is `package.module:function`.

- `network`: (settings, shape of an input, number of outputs) -> torch.nn.Module, where
  `settings["width"]` is a value of the configuration (see Settings).
- `predict`: (network, inputs [n, *shape]) -> outputs [n, outputs]; else the network is called.
- `loss`: (outputs, targets, further parameters...) -> mean over rows, a scalar.
- `optimizer`: (weight, gradient, state, learning_rate, further parameters...) -> (weight, state),
  called for each weight of the network by itself. `state` is a tuple of as many tensors like the
  weight as the function's attribute `states` says, 0 without it, and begins as zeros.

Further parameters are settings of their names, all numbers; those that have a default may be
absent. What is pure in tensors is computed for many members at once (see `Population`).
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metatune.errors import TrainableError
from metatune.networks.architectures.layers import Shape
from metatune.networks.settings import Settings
from metatune.parameters import Value, is_number

# The settings that a function may stand for, and how many of its arguments are ours.
OWN_CODE = {"network": 3, "predict": 2, "loss": 2, "optimizer": 4}


def is_own(value: object) -> bool:
    """Whether a value of a setting names a function of the user's."""
    return isinstance(value, str) and ":" in value


def own_names(config: Mapping[str, Value]) -> list[str]:
    """The functions of the user's that a configuration names."""
    return [str(config[name]) for name in OWN_CODE if is_own(config.get(name))]


def own_numbers(config: Mapping[str, Value]) -> set[str]:
    """The settings that are parameters of the user's losses and update rules: members of a
    population may differ in them."""
    kinds = ("loss", "optimizer")
    functions = [(imported(str(config[k])), k) for k in kinds if is_own(config.get(k))]
    return {name for function, kind in functions for name in _further(function, kind)}


def imported(name: str) -> Any:
    """What `package.module:name` names; TrainableError says what is missing."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise TrainableError(f"{name!r} must look like package.module:name")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise TrainableError(
            f"{name!r}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        raise TrainableError(f"{name!r}: {module_name} has no {attribute!r}")
    return found


def own_function(settings: Settings, kind: str) -> Callable[..., Any]:
    """The function that the setting `kind` names; ConfigurationError where it cannot be used."""
    try:
        function = imported(str(settings[kind]))
        taken = len(inspect.signature(function).parameters)
    except (TrainableError, TypeError, ValueError) as error:
        raise settings.error(kind, f"a function that can be used: {error}") from error
    if taken < OWN_CODE[kind]:
        raise settings.error(
            kind, f"a function of at least {OWN_CODE[kind]} arguments, not {taken}"
        )
    for name, parameter in _further(function, kind).items():
        is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        default = 0.0 if parameter.default is parameter.empty else parameter.default
        if not is_named or not is_number(default):
            raise settings.error(kind, f"a function whose {name!r} is the name of a number")
    return function  # type: ignore[no-any-return]


def further_numbers(
    function: Callable[..., Any], kind: str, settings: Settings
) -> dict[str, float]:
    """The values of a function's further parameters, by their names."""
    found = {}
    for name, parameter in _further(function, kind).items():
        has_default = parameter.default is not inspect.Parameter.empty
        default = float(parameter.default) if has_default else None
        found[name] = settings.number(name, default=default)
    return found


def _further(function: Callable[..., Any], kind: str) -> dict[str, inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.items())
    return dict(parameters[OWN_CODE[kind] :])


def own_network(settings: Settings, shape: Shape, outputs: int, seed: int) -> nn.Module:
    """The module that a function of the user's builds; what it draws from torch's generator
    follows from `seed`.

    Raises ConfigurationError for no module, and for one with a dropout of torch's, which draws from
    the global generator.
    """
    function = own_function(settings, "network")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = function(settings, shape, outputs)
    if not isinstance(network, nn.Module):
        raise settings.error(
            "network", f"a function that returns a torch.nn.Module, not {type(network).__name__}"
        )
    weights = list(network.parameters())
    if not all(weight.requires_grad for weight in weights) or len(weights) < len(
        list(network.named_parameters(remove_duplicate=False))
    ):
        raise settings.error("network", "one whose weights all train, and stand in it once")
    for name, module in network.named_modules():
        if _draws(module):
            raise settings.error(
                "network",
                f"one whose dropout is metatune.networks.architectures.layers.Dropout, so that it "
                f"follows from the seed; {name!r} is {type(module).__name__}",
            )
    return network


def _draws(module: nn.Module) -> bool:
    """Whether a module of torch's draws from the global generator in training."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.RReLU)


class Predicting(nn.Module):
    """A network whose outputs a function of the user's computes."""

    def __init__(self, network: nn.Module, predict: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.network = network
        self._predict = predict

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What `predict` says of inputs [batch, *shape]."""
        return self._predict(self.network, x)
