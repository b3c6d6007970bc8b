"""One configuration of each network, for tests to vary."""

from __future__ import annotations

import torch
from torch import nn

from metatune.networks.architectures.building import build
from metatune.networks.initializers import initialize
from metatune.networks.settings import Settings
from metatune.space import Config

MLP: Config = {
    "network": "mlp", "depth": 2, "width": 16, "activation": "gelu", "normalization": "batch",
    "dropout": 0.25, "initializer": "default",
}  # fmt: skip
CNN: Config = {
    "network": "cnn", "blocks": 2, "channels": 4, "kernel": 3, "activation": "relu",
    "normalization": "batch", "pooling": "max", "readout": "average", "dropout": 0.25,
    "initializer": "default",
}  # fmt: skip
RESNET: Config = {
    "network": "resnet", "stages": 2, "blocks": 2, "channels": 8, "activation": "relu",
    "normalization": "batch", "dropout": 0.25, "initializer": "default",
}  # fmt: skip
TRANSFORMER: Config = {
    "network": "transformer", "depth": 2, "width": 16, "heads": 4, "feedforward": 2, "patch": 4,
    "activation": "gelu", "normalization": "pre", "readout": "average", "dropout": 0.25,
    "initializer": "default",
}  # fmt: skip


def network(
    config: Config, shape: tuple[int, ...], seed: int = 0, outputs: int = 3
) -> nn.Sequential:
    """The initialised network of `config`, of whose settings none may be left unread."""
    settings = Settings(config)
    built = build(settings, shape, outputs)
    inputs = torch.randn(8, *shape, generator=torch.Generator().manual_seed(5))
    initialize(built, settings, torch.Generator().manual_seed(seed), inputs)
    settings.check_all_read()
    assert isinstance(built, nn.Sequential)
    return built
