"""How near hypergradients are to central finite differences, in double precision."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from results import Row

from metatune.networks.data.loading import Split, load
from metatune.networks.hypergradients.hypergradient import hypergradients, plain_losses
from metatune.networks.hypergradients.hyperparameters import hyperparameters
from metatune.networks.hypergradients.unrolling import Unrolling
from metatune.networks.training import Training
from metatune.space import Config

STEPS = 5
WIDTHS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)  # of a difference, relative to the value
_NETWORKS: dict[str, Config] = {
    "mlp": {"network": "mlp", "depth": 2, "width": 16, "normalization": "batch"},
    "cnn": {
        "network": "cnn", "blocks": 2, "channels": 4, "kernel": 3, "normalization": "batch",
        "pooling": "max", "readout": "average",
    },
    "resnet": {"network": "resnet", "stages": 2, "blocks": 1, "channels": 4,
               "normalization": "batch"},
    "transformer": {
        "network": "transformer", "depth": 2, "width": 16, "heads": 4, "feedforward": 2,
        "patch": 4, "normalization": "pre", "readout": "average",
    },
}  # fmt: skip
_RULES: dict[str, Config] = {
    "sgd": {"momentum": 0.8, "nesterov": True, "learning_rate": 0.05},
    "adam": {"beta1": 0.9, "beta2": 0.99, "learning_rate": 1e-2},
    "adamw": {"beta1": 0.9, "beta2": 0.99, "learning_rate": 1e-2},
}
_TRAINING: Config = {
    "activation": "silu", "dropout": 0.25, "initializer": "kaiming", "initializer_gain": 0.9,
    "weight_decay": 0.05, "gradient_clipping": True, "gradient_norm": 0.5, "schedule": "constant",
    "batch_size": 16, "loss": "parametric", "label_smoothing": 0.1, "focal_gamma": 1.5,
    "temperature": 1.3, "poly_1": 0.5, "poly_2": 0.3, "class_weighting": 0.4, "input_noise": 0.2,
    "layer_rate_ratio": 0.5,
}  # fmt: skip
BAR = 1e-4


def agreement_rows() -> list[Row]:
    """The largest relative difference over all hyperparameters, for each network and rule; of each
    hyperparameter that from the nearest of the finite differences."""
    digits = load("digits")
    train, validation = (
        Split(split.inputs[:rows], split.targets[:rows])
        for split, rows in ((digits.train, 64), (digits.validation, 64))
    )
    dataset = replace(digits, train=train, validation=validation)
    rows = []
    for network, architecture in _NETWORKS.items():
        for rule, settings in _RULES.items():
            config = {**architecture, **_TRAINING, **settings, "optimizer": rule}

            def begun(config: Config = config) -> Training:
                return Training(config, dataset, seed=5, epochs=3, dtype=torch.float64)

            found = _disagreements(begun())
            name = max(found, key=lambda key: found[key])
            case = f"{network}, {rule}, {STEPS} steps, {len(found)} hyperparameters"
            metric = f"largest relative difference from finite differences ({name})"
            rows.append(Row(case, metric, found[name], "bar", BAR))
    return rows


def _disagreements(training: Training) -> dict[str, float]:
    names = list(hyperparameters(training))
    places = [(name, width) for name in names for width in WIDTHS]
    unrolling = Unrolling([training] * (2 * len(places)))
    values = {name: unrolling.values(name) for name in names}
    for index, (name, width) in enumerate(places):
        values[name][2 * index] *= 1 + width
        values[name][2 * index + 1] *= 1 - width
    losses = plain_losses(unrolling, values, STEPS)
    exact = hypergradients([training], names, STEPS)
    found = dict.fromkeys(names, math.inf)
    for index, (name, width) in enumerate(places):
        rise = float(losses[2 * index] - losses[2 * index + 1])
        gradient = float(exact.gradients[name][0])
        slope = rise / (2 * width * float(unrolling.values(name)[0]))
        found[name] = min(found[name], abs(slope - gradient) / abs(gradient))
    return found
