"""What is trained: networks, data, and the loop that anyone would write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from metatune.networks.architectures.layers import Dropout
from metatune.networks.data.dataset import Dataset, Split
from metatune.networks.data.loading import load
from metatune.networks.training import Training
from metatune.parameters import Value

BATCH = 64
CLASSES = 10

_TRAINING: Mapping[str, Value] = {
    "initializer": "default",
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "weight_decay": 1e-2,
    "gradient_clipping": False,
    "schedule": "constant",
    "batch_size": BATCH,
    "loss": "cross_entropy",
    "label_smoothing": 0.0,
    "dropout": 0.0,
}
_CONVOLUTIONAL: Mapping[str, Value] = {"activation": "relu", "normalization": "batch"}
_CNN: Mapping[str, Value] = {
    **_CONVOLUTIONAL,
    "network": "cnn",
    "blocks": 2,
    "channels": 16,
    "kernel": 3,
    "pooling": "max",
    "readout": "average",
}
_RESNET: Mapping[str, Value] = {
    **_CONVOLUTIONAL,
    "network": "resnet",
    "stages": 2,
    "blocks": 1,
    "channels": 16,
}
_TRANSFORMER: Mapping[str, Value] = {
    "network": "transformer",
    "depth": 2,
    "width": 32,
    "heads": 4,
    "feedforward": 2,
    "activation": "gelu",
    "normalization": "pre",
    "readout": "average",
}


@dataclass(frozen=True)
class Case:
    """A network on images [channels, height, width]."""

    name: str
    settings: Mapping[str, Value]
    shape: tuple[int, int, int]

    @property
    def config(self) -> dict[str, Value]:
        """A whole configuration."""
        return {**_TRAINING, **self.settings}

    def __str__(self) -> str:
        return f"{self.name} on {'x'.join(str(side) for side in self.shape)}"


def mlp(
    depth: int, width: int, shape: tuple[int, int, int] = (1, 8, 8), dropout: float = 0.0
) -> Case:
    """An MLP with `depth` hidden layers."""
    sizes = [math.prod(shape), *[width] * depth, CLASSES]
    name = f"MLP {'-'.join(map(str, sizes))}" + (f", dropout {dropout}" if dropout else "")
    settings: dict[str, Value] = {
        "network": "mlp",
        "depth": depth,
        "width": width,
        "activation": "relu",
        "normalization": "none",
        "dropout": dropout,
    }
    return Case(name, settings, shape)


def cases(shape: tuple[int, int, int]) -> list[Case]:
    """The four networks on images of one shape."""
    # Patches as large as make 16 tokens of an image of 8x8 and of 16x16, 64 of one of 32x32.
    transformer = {**_TRANSFORMER, "patch": 2 if shape[1] == 8 else 4}
    named = (("CNN", _CNN), ("ResNet", _RESNET), ("transformer", transformer))
    return [mlp(2, 36, shape), *[Case(name, settings, shape) for name, settings in named]]


def dataset(shape: tuple[int, int, int], batches: int) -> Dataset:
    """Random images with random classes: `batches` full batches, and one of validation rows."""
    generator = torch.Generator().manual_seed(0)

    def split(rows: int) -> Split:
        classes = torch.randint(CLASSES, (rows,), generator=generator)
        return Split(torch.randn(rows, *shape, generator=generator), classes)

    return replace(
        load("digits"), shape=shape, train=split(batches * BATCH), validation=split(BATCH)
    )


def plain_network(training: Training) -> nn.Module:
    """The network of `training` with torch's own dropout, as it would be written for training it
    alone. (Attention written out is no slower here than torch's nn.TransformerEncoderLayer.)"""

    def replaced(module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, Dropout):
                rate = float(child.rate)
                setattr(module, name, nn.Dropout(rate) if rate > 0.0 else nn.Identity())
            replaced(child)

    replaced(training.network)
    return training.network


class PlainLoop:
    """Networks trained one after another: a module, torch's loss and torch's AdamW of each.

    `fused` is that optimizer's option of the name, None its default.
    """

    def __init__(self, case: Case, data: Dataset, count: int, fused: bool | None = None) -> None:
        config = case.config
        self.count, self._data = count, data
        trained = [Training(config, data, seed) for seed in range(count)]
        self._networks = [plain_network(training) for training in trained]
        self._optimizers = [
            torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2, fused=fused)
            for network in self._networks
        ]
        self._generator = torch.Generator().manual_seed(0)

    def train(self, batches: int) -> None:
        """Train each network on some batches of an epoch."""
        inputs, targets = self._data.train.inputs, self._data.train.targets
        for network, optimizer in zip(self._networks, self._optimizers, strict=True):
            network.train()
            order = torch.randperm(len(targets), generator=self._generator)
            for rows in torch.split(order, BATCH)[:batches]:
                optimizer.zero_grad()
                loss = functional.cross_entropy(network(inputs[rows]), targets[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    @torch.no_grad()
    def validate(self) -> None:
        """Validation loss and accuracy of each network."""
        inputs, targets = self._data.validation.inputs, self._data.validation.targets
        for network in self._networks:
            network.eval()
            outputs = network(inputs)
            functional.cross_entropy(outputs, targets).item()
            (outputs.argmax(1) == targets).float().mean().item()


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of this process while `run` runs."""
    began = time.process_time()
    run()
    return time.process_time() - began


def median_pair(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Of an odd number of pairs the one whose ratio is the median."""
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
