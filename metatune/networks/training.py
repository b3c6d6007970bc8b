"""Training one network: the loop, its checkpoints and its scores.

Everything random is keyed by (seed, epoch): a training that is resumed from a checkpoint, or
repeated in another process with as many threads on the same machine, gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from metatune.networks import checkpoints, metrics
from metatune.networks.architectures import Dropout, build
from metatune.networks.checkpoints import Tensors, prefixed, under
from metatune.networks.data import Dataset
from metatune.networks.initializers import initialize
from metatune.networks.losses import loss
from metatune.networks.metrics import Array
from metatune.networks.schedules import schedule
from metatune.networks.settings import Settings
from metatune.parameters import Value
from metatune.trial import derive_seed

_INITIALIZATION, _ORDER, _DROPOUT = range(3)  # what a generator is for
_CHUNK = 4096  # rows predicted at once

Scores = dict[str, float]


class Training:
    """A network on its way through `epochs` epochs of a data set's training rows.

    `config` must hold every setting that the chosen network, optimizer, schedule and loss read,
    and no other; ConfigurationError names what does not fit. `epochs` is what the schedule spans.
    `batch_size` is the most rows of a batch: an epoch is made of the fewest equal batches that
    allows, and the few rows left over change with each epoch. `threads` is how many threads torch
    uses meanwhile.
    """

    def __init__(
        self,
        config: Mapping[str, Value],
        dataset: Dataset,
        seed: int = 0,
        epochs: int = 20,
        threads: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.dataset, self.seed = dict(config), dataset, seed
        self.epochs, self.threads, self.dtype = epochs, threads, dtype
        settings = Settings(config)
        rows = len(dataset.train)
        self.batches = math.ceil(rows / settings.whole("batch_size"))
        self.batch_rows = rows // self.batches
        self.network = build(settings, dataset.shape, dataset.outputs)
        if self.batch_rows == 1 and settings["normalization"] == "batch":
            raise settings.error("batch_size", "larger, for batch normalization needs two rows")
        with _threads(threads):
            batch = self._order(0)[: self.batch_rows]
            generator = self._generator(_INITIALIZATION, 0)
            initialize(self.network, settings, generator, dataset.train.inputs[batch])
        self.network.to(dtype)
        self.loss = loss(settings, dataset.kind)
        self.schedule = schedule(settings)
        self.learning_rate = settings.number("learning_rate", 0.0)
        self.optimizer = _optimizer(settings, self.network)
        clips = settings.flag("gradient_clipping")
        self.gradient_norm = settings.number("gradient_norm", 0.0) if clips else None
        settings.check_all_read()
        self.epoch = 0
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_weights: Tensors = {}

    def step(self) -> Scores:
        """Train one epoch, and score it on the validation rows.

        `validation_loss` is the log loss, or the mean squared error of standardised targets; NaN
        if it or the training loss is not finite.
        """
        self.epoch += 1
        with _threads(self.threads):
            train_loss = self._train()
            scores = self._validate()
        if not math.isfinite(train_loss + scores["validation_loss"]):
            scores["validation_loss"] = math.nan
        if scores["validation_loss"] < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, scores["validation_loss"]
            self.best_weights = {k: v.clone() for k, v in self.network.state_dict().items()}
        return {"epoch": self.epoch, "train_loss": train_loss, **scores}

    def fit(self, epochs: int | None = None) -> list[Scores]:
        """Train up to epoch `epochs`, all of them if not given; the scores of each."""
        last = self.epochs if epochs is None else epochs
        return [self.step() for _ in range(self.epoch, last)]

    def test_scores(self) -> Scores:
        """Scores on the test rows (see `metrics`), with the weights of the best validation epoch;
        NaN if no epoch had a finite loss. Nothing else looks at the test rows."""
        test = self.dataset.test
        predicted = np.full((len(test), self.dataset.outputs), math.nan)
        if self.best_weights:
            with _threads(self.threads):
                predicted = self._predict(test.inputs, self.best_weights)
        targets = test.targets.numpy()
        if self.dataset.kind == "classification":
            scores = metrics.classification_scores(predicted, targets)
        else:
            center, scale = self.dataset.target_center, self.dataset.target_scale
            scores = metrics.regression_scores(predicted * scale + center, targets * scale + center)
        return {f"test_{name}": value for name, value in scores.items()}

    def save(self, folder: str | Path) -> None:
        """Put everything that continuing needs into `folder`."""
        parameters = dict(self.network.named_parameters())
        tensors = prefixed("network", self.network.state_dict())
        tensors |= prefixed("best", self.best_weights)
        for name, parameter in parameters.items():
            state = self.optimizer.state.get(parameter, {})
            kept = {key: value for key, value in state.items() if torch.is_tensor(value)}
            tensors |= prefixed(f"optimizer/{name}", kept)
        progress = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss if self.best_epoch else None,
        }
        checkpoints.write(Path(folder), tensors, self._identity() | progress)

    def load(self, folder: str | Path) -> None:
        """Continue from what `save` put into `folder`.

        Raises ConfigurationError if it was saved by a training that differs in anything but its
        threads, DamagedFileError if it is not whole.
        """
        tensors, scalars = checkpoints.read(Path(folder), self._identity())
        self.network.load_state_dict(under("network", tensors))
        names = [name for name, _ in self.network.named_parameters()]
        states = {i: under(f"optimizer/{name}", tensors) for i, name in enumerate(names)}
        groups = self.optimizer.state_dict()["param_groups"]
        kept = {i: state for i, state in states.items() if state}
        self.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        self.best_weights = under("best", tensors)
        self.epoch, self.best_epoch = scalars["epoch"], scalars["best_epoch"]
        self.best_loss = math.inf if scalars["best_loss"] is None else scalars["best_loss"]

    def _train(self) -> float:
        """One epoch; the mean loss of its batches."""
        inputs = self.dataset.train.inputs.to(self.dtype)
        targets = self.dataset.train.targets
        self.network.train()
        dropouts = [m for m in self.network.modules() if isinstance(m, Dropout) and m.rate > 0]
        noise = self._generator(_DROPOUT, self.epoch)
        order = self._order(self.epoch)[: self.batches * self.batch_rows]
        total = torch.zeros((), dtype=self.dtype)
        for index, rows in enumerate(torch.split(order, self.batch_rows)):
            for dropout in dropouts:
                dropout.uniforms = torch.rand(len(rows), *dropout.shape, generator=noise)
            progress = (self.epoch - 1 + (index + 0.5) / self.batches) / self.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * self.schedule(progress)
            batch_loss = self.loss(self.network(inputs[rows]), targets[rows])
            self.optimizer.zero_grad(set_to_none=True)
            batch_loss.backward()  # type: ignore[no-untyped-call]
            if self.gradient_norm is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_norm)
            self.optimizer.step()
            total += batch_loss.detach()
        return float(total) / self.batches

    def _validate(self) -> Scores:
        predicted = self._predict(self.dataset.validation.inputs, self.network.state_dict())
        targets = self.dataset.validation.targets.numpy()
        if self.dataset.kind == "classification":
            return {
                "validation_loss": metrics.log_loss(predicted, targets),
                "validation_accuracy": metrics.accuracy(predicted, targets),
            }
        scale = self.dataset.target_scale
        return {
            "validation_loss": metrics.mean_squared_error(predicted, targets),
            "validation_rmse": metrics.rmse(predicted * scale, targets * scale),
        }

    @torch.no_grad()
    def _predict(self, inputs: torch.Tensor, weights: Tensors) -> Array:
        """The network's outputs [n, outputs] in float64, with these weights."""
        self.network.eval()
        chunks = [
            torch.func.functional_call(self.network, weights, (chunk.to(self.dtype),))
            for chunk in torch.split(inputs, _CHUNK)
        ]
        outputs: Array = torch.cat(chunks).double().numpy()
        return outputs

    def _order(self, epoch: int) -> torch.Tensor:
        return torch.randperm(len(self.dataset.train), generator=self._generator(_ORDER, epoch))

    def _generator(self, purpose: int, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, purpose, epoch))

    def _identity(self) -> dict[str, Any]:
        return {
            "config": self.config,
            "seed": self.seed,
            "epochs": self.epochs,
            "dtype": str(self.dtype),
            "split_seed": self.dataset.split_seed,
            "data_hash": self.dataset.data_hash,
        }


def _optimizer(settings: Settings, network: nn.Module) -> torch.optim.Optimizer:
    name = settings.choice("optimizer", ("sgd", "adam", "adamw"))
    decay = settings.number("weight_decay", 0.0)
    parameters = network.parameters()
    if name == "sgd":
        momentum = settings.number("momentum", 0.0, 1.0)
        nesterov = settings.flag("nesterov") and momentum > 0.0  # without momentum it is the same
        return torch.optim.SGD(
            parameters, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
        )
    betas = (settings.number("beta1", 0.0, 0.999999), settings.number("beta2", 0.0, 0.999999))
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(parameters, betas=betas, weight_decay=decay, fused=True)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads meanwhile; the number is one for the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
