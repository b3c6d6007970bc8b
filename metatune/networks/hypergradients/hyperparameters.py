"""The continuous hyperparameters of a training."""

from __future__ import annotations

import math

import torch
from torch import nn

from metatune.networks.checkpoints import Tensors
from metatune.networks.initializers import INITIALIZERS, layers
from metatune.networks.training import Training


def hyperparameters(training: Training) -> dict[str, float]:
    """The continuous hyperparameters that a training depends on smoothly, with their values."""
    rule, config = training.rule, training.config
    found = {
        "learning_rate": training.learning_rate,
        "layer_rate_ratio": layer_rate_ratio(training),
    }
    found["weight_decay"] = rule.weight_decay
    if rule.name == "sgd":
        found["momentum"] = rule.momentum
    else:
        found |= {"beta1": rule.beta1, "beta2": rule.beta2}
    if training.gradient_norm < math.inf:
        found["gradient_norm"] = training.gradient_norm
    gain = config.get("initializer_gain")
    drawn = config.get("initializer") in INITIALIZERS and config.get("inherit", "none") == "none"
    if isinstance(gain, int | float) and drawn:
        found["initializer_gain"] = float(gain)
    if (rate := dropout_rate(training)) > 0.0:
        found["dropout"] = rate
    if training.input_noise > 0.0:
        found["input_noise"] = training.input_noise
    return found | dict(zip(training.loss.names, training.loss.parameters, strict=True))


def layer_rate_ratio(training: Training) -> float:
    """The first layer's learning rate over that of the last."""
    return training.layer_rates[0].multiplier / training.layer_rates[-1].multiplier


def dropout_rate(training: Training) -> float:
    """The probability with which elements are dropped, 0 where nothing is."""
    rate = training.config.get("dropout", 0.0)
    return float(rate) if isinstance(rate, int | float) else 0.0


def weights_at_gain(
    training: Training, weights: Tensors, gain: torch.Tensor, inputs: torch.Tensor
) -> torch.Tensor:
    """The weights [P] that a training begins from, by name those that it has, if `initializer_gain`
    were `gain`; `inputs` is its first batch, which "lsuv" measures on."""
    known, parameters = (
        hyperparameters(training).get("initializer_gain"),
        dict(training.network.named_parameters()),
    )
    scales: dict[int, torch.Tensor] = {}
    if known is not None and training.config["initializer"] == "lsuv":
        scales = _unit_variance(training.network, gain, inputs)
    elif known is not None:
        scales = {id(layer.weight): gain / known for layer in layers(training.network)}
    parts = [weights[name] * scales.get(id(p), 1.0) for name, p in parameters.items()]
    return torch.cat([part.reshape(-1) for part in parts])


def _unit_variance(
    network: nn.Module, gain: torch.Tensor, inputs: torch.Tensor
) -> dict[int, torch.Tensor]:
    """What layer-sequential unit variance (see `initializers`) multiplies each layer's weight by,
    by the identity of that, for outputs of standard deviation `gain` on `inputs`."""
    scales = {}

    def rescaled(layer: nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
        scale = gain / output.std(correction=0)
        scales[id(layer.weight)] = scale
        return output * scale

    hooks = [layer.register_forward_hook(rescaled) for layer in layers(network)]
    was_training = network.training
    network.eval()
    network(inputs)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return scales
