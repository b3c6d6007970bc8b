"""Training one network: the loop, its checkpoints and its scores.

Everything random is keyed by (seed, epoch): a training that is resumed from a checkpoint, or
repeated in another process with as many threads on the same machine, gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metatune.errors import DamagedFileError
from metatune.networks import checkpoints
from metatune.networks.architectures.building import build
from metatune.networks.architectures.feature_selection import select_features
from metatune.networks.architectures.layers import Dropout
from metatune.networks.checkpoints import Tensors, prefixed, under
from metatune.networks.data import metrics
from metatune.networks.data.dataset import Dataset
from metatune.networks.data.metrics import Array
from metatune.networks.data.task_metric import LOSS, class_score, direction_of
from metatune.networks.gradinit import learn_scales
from metatune.networks.inheritance import INHERITANCES, overlap
from metatune.networks.initializers import initialize
from metatune.networks.layer_rates import runs
from metatune.networks.learned import NOTHING, Learned
from metatune.networks.losses import loss
from metatune.networks.network_update import NetworkUpdate, clip
from metatune.networks.online_rate import OnlineRate, flat
from metatune.networks.schedules import schedule, sensitivity
from metatune.networks.settings import Settings
from metatune.networks.uniforms import drawn, normals, stream
from metatune.networks.updates import UpdateRule
from metatune.parameters import Value
from metatune.trial import derive_seed

_INITIALIZATION, _ORDER, _DROPOUT, _NOISE = range(4)  # what a generator is for
CHUNK = 256  # rows predicted at once, by populations for each member: rounding depends on it

# How a proposal may be improved before it is trained (see `refinement`); what is trained here is
# what came of that.
REFINEMENTS = ("none", "hypergradient")
# How members of a population may go on from where others are (see `lineage`), and after how many
# epochs they do by default; one network alone has nobody to go on from.
EXPLOITS = ("none", "truncation")
EXPLOIT_EPOCHS = 3

Scores = dict[str, float]


class Training:
    """A network on its way through `epochs` epochs of a data set's training rows.

    `config` must hold every setting that the chosen network, optimizer, schedule and loss read,
    and no other; ConfigurationError names what does not fit. `epochs` is what the schedule spans.
    `batch_size` is the most rows of a batch: an epoch is made of the fewest equal batches that
    allows, and the few rows left over change with each epoch. `threads` is how many threads torch
    uses meanwhile, `learned` what `config` may name beside the built-in choices. `parent` are the
    weights of another network by their places: with `inherit` = "best" it begins from what it has
    in common with that (see `inheritance`).
    """

    def __init__(
        self,
        config: Mapping[str, Value],
        dataset: Dataset,
        seed: int = 0,
        epochs: int = 20,
        threads: int = 1,
        dtype: torch.dtype = torch.float32,
        learned: Learned = NOTHING,
        parent: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.config, self.dataset, self.seed = dict(config), dataset, seed
        self.epochs, self.threads, self.dtype, self.learned = epochs, threads, dtype, learned
        settings = Settings(config)
        rows = len(dataset.train)
        self.batches = math.ceil(rows / settings.whole("batch_size"))
        self.batch_rows = rows // self.batches
        self.network = build(settings, dataset.shape, dataset.outputs, seed)
        self.read_by_network = settings.names_read
        select_features(self.network, settings, dataset)
        if self.batch_rows == 1 and config.get("normalization") == "batch":
            raise settings.error("batch_size", "larger, for batch normalization needs two rows")
        with threads_of_torch(threads):
            batch = self.order(0)[0]
            generator = self._generator(_INITIALIZATION, 0)
            initialize(self.network, settings, generator, dataset.train.inputs[batch], learned)
        self.network.to(dtype)
        self.loss = loss(settings, dataset, learned)
        self.schedule = schedule(settings, learned)
        self.learning_rate = settings.number("learning_rate", 0.0)
        self.rule = UpdateRule.read(settings)
        clips = settings.flag("gradient_clipping")
        self.gradient_norm = settings.number("gradient_norm", 0.0) if clips else math.inf
        self.layer_rates = runs(self.network, _layer_rate_ratio(settings, self.rule))
        self.input_noise = settings.number("input_noise", 0.0, default=0.0)
        if self.input_noise and dataset.words:
            raise settings.error("input_noise", "0 for documents, whose inputs are no quantities")
        moves = sensitivity(settings)
        settings.choice("refine", REFINEMENTS, default="none")
        self.inherit = settings.choice("inherit", INHERITANCES, default="none")
        if settings.choice("exploit", EXPLOITS, default="none") != "none":
            settings.whole("exploit_epochs", default=EXPLOIT_EPOCHS)
        settings.check_all_read()
        if config.get("initializer") == "gradinit":
            with threads_of_torch(threads):
                self._learn_scales()
        if self.inherit == "best":
            overlap(self.network, parent or {})
        parameters = list(self.network.parameters())
        self.online = OnlineRate.of(moves, parameters) if moves else None
        self.epoch = 0
        self.best_epoch = 0
        self.best_loss = math.inf
        self.best_weights: Tensors = {}

    @cached_property
    def update(self) -> NetworkUpdate:
        """What changes the weights."""
        return NetworkUpdate(self.rule, self.network, self.layer_rates)

    def step(self) -> Scores:
        """Train one epoch, and score it on the validation rows, see `epoch_scores`."""
        self.epoch += 1
        with threads_of_torch(self.threads):
            train_loss = self.train(self.batches)
            weights = self.network.state_dict()
            predicted = self._predict(self.dataset.validation.inputs, weights)
        scores = epoch_scores(self.epoch, train_loss, predicted, self.dataset)
        value = scores[self.dataset.metric]
        loss = -value if direction_of(self.dataset.metric) == "maximize" else value
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = self.epoch, loss
            self.best_weights = {k: v.clone() for k, v in self.network.state_dict().items()}
        return scores

    def fit(self, epochs: int | None = None) -> list[Scores]:
        """Train up to epoch `epochs`, all of them if not given; the scores of each."""
        last = self.epochs if epochs is None else epochs
        return [self.step() for _ in range(self.epoch, last)]

    def use(
        self,
        weights: Tensors,
        buffers: Tensors,
        states: Mapping[str, Tensors],
        count: torch.Tensor,
        online: OnlineRate | None = None,
    ) -> None:
        """Train these tensors, in place, instead of its own: weights and buffers by name, states
        and count as of `NetworkUpdate`, and the state of an online schedule."""
        self.online = online
        for name, parameter in self.network.named_parameters():
            parameter.data = weights[name]
        self.update = NetworkUpdate(self.rule, self.network, self.layer_rates, states, count)
        for name, buffer in buffers.items():
            module, _, leaf = name.rpartition(".")
            setattr(self.network.get_submodule(module), leaf, buffer)

    def test_scores(self) -> Scores:
        """Scores on the test rows (see `metrics`), with the weights of the best validation epoch;
        NaN if no epoch had a finite loss. Nothing else looks at the test rows."""
        test = self.dataset.test
        predicted = np.full((len(test), self.dataset.outputs), math.nan)
        if self.best_weights:
            with threads_of_torch(self.threads):
                predicted = self._predict(test.inputs, self.best_weights)
        targets = test.targets.numpy()
        if self.dataset.kind == "classification":
            scores = metrics.classification_scores(predicted, targets)
            name = self.dataset.metric.removeprefix("validation_")
            if name not in (*scores, "loss"):
                scores[name] = class_score(
                    self.dataset.metric, self.dataset.labels, predicted, targets
                )
        else:
            center, scale = self.dataset.target_center, self.dataset.target_scale
            scores = metrics.regression_scores(predicted * scale + center, targets * scale + center)
        return {f"test_{name}": value for name, value in scores.items()}

    def save(self, folder: str | Path) -> None:
        """Put everything that continuing needs into `folder`."""
        tensors = prefixed("network", self.network.state_dict())
        tensors |= prefixed("best", self.best_weights)
        for kind, of_weights in self.update.states.items():
            tensors |= prefixed(f"update/{kind}", of_weights)
        tensors["updates"] = self.update.count
        if self.online is not None:
            tensors |= prefixed("online", self.online.tensors())
        progress = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss if self.best_epoch else None,
        }
        checkpoints.write(Path(folder), tensors, self.identity() | progress)

    def load(self, folder: str | Path) -> None:
        """Continue from what `save` put into `folder`.

        Raises ConfigurationError if it was saved by a training that differs in anything but its
        threads, DamagedFileError if it is not whole.
        """
        tensors, scalars = checkpoints.read(Path(folder), self.identity())
        if "updates" not in tensors:
            raise DamagedFileError(f"{folder}: was saved by a version that counted no updates")
        self.network.load_state_dict(under("network", tensors))
        states = {kind: under(f"update/{kind}", tensors) for kind in self.rule.states}
        self.update = NetworkUpdate(
            self.rule, self.network, self.layer_rates, states, tensors["updates"]
        )
        if self.online is not None:
            self.online = OnlineRate(self.online.sensitivities, **under("online", tensors))
        self.best_weights = under("best", tensors)
        self.epoch, self.best_epoch = scalars["epoch"], scalars["best_epoch"]
        self.best_loss = math.inf if scalars["best_loss"] is None else scalars["best_loss"]

    def train(self, batches: int) -> float:
        """Train the first `batches` of the present epoch; their mean loss."""
        inputs = self.dataset.train.inputs.to(self.dtype)
        targets = self.dataset.train.targets
        self.network.train()
        weights = list(self.network.parameters())
        total = torch.zeros((), dtype=self.dtype)
        order = self.order(self.epoch)[:batches]
        drawn_now = zip(order, self._uniforms(batches), self._noises(batches), strict=True)
        for index, (rows, uniforms, noise) in enumerate(drawn_now):
            for dropout, of_members in uniforms:
                dropout.uniforms = of_members[0]
            seen = inputs[rows] if noise is None else inputs[rows] + noise
            batch_loss = self.loss(self.network(seen), targets[rows])
            for weight in weights:
                weight.grad = None
            batch_loss.backward()  # type: ignore[no-untyped-call]
            rate = self.learning_rate_at(self.epoch, index)
            if self.online is not None:
                rate *= self._moved(self.online)
            if self.gradient_norm < math.inf:
                clip(weights, self.gradient_norm)
            self.update(rate)
            total += batch_loss.detach()
        return float(total) / batches

    def _uniforms(self, batches: int) -> Iterator[list[tuple[Dropout, torch.Tensor]]]:
        """For each batch what each dropout looks at, [1, batch_rows, *shape]."""
        found = {n: m for n, m in self.network.named_modules() if isinstance(m, Dropout)}
        sites = {name: (self.batch_rows, *m.shape) for name, m in found.items() if m.rate > 0}
        if not sites:
            yield from ([] for _ in range(batches))
            return
        for step in drawn(self.dropout_stream(self.epoch)[None], sites, batches):
            yield [(found[name], of_members) for name, of_members in step.items()]

    def _noises(self, batches: int) -> Iterator[torch.Tensor | None]:
        """For each batch what is added to its inputs, [batch_rows, *shape], if anything is."""
        if not self.input_noise:
            yield from [None] * batches
            return
        shape = (self.batch_rows, *self.dataset.shape)
        for noise in normals(self.noise_stream(self.epoch)[None], shape, batches):
            yield noise[0].to(self.dtype) * self.input_noise

    def _moved(self, online: OnlineRate) -> float:
        """What an online schedule multiplies the learning rate of the coming update by."""
        parameters = list(self.network.parameters())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        online.adapt(flat(parameters), flat(gradients))
        return float(online.multipliers)

    @torch.no_grad()
    def _predict(self, inputs: torch.Tensor, weights: Tensors) -> Array:
        """The network's outputs [n, outputs] in float64, with these weights."""
        self.network.eval()
        chunks = [
            torch.func.functional_call(self.network, weights, (chunk.to(self.dtype),))
            for chunk in torch.split(inputs, CHUNK)
        ]
        outputs: Array = torch.cat(chunks).double().numpy()
        return outputs

    def order(self, epoch: int) -> torch.Tensor:
        """The rows of each batch of an epoch: [batches, batch_rows]."""
        generator = self._generator(_ORDER, epoch)
        rows = torch.randperm(len(self.dataset.train), generator=generator)
        return rows[: self.batches * self.batch_rows].view(self.batches, self.batch_rows)

    def learning_rate_at(self, epoch: int, batch: int) -> float:
        """The learning rate of a batch, counted from 0, of an epoch, counted from 1."""
        progress = (epoch - 1 + (batch + 0.5) / self.batches) / self.epochs
        return self.learning_rate * self.schedule(progress)

    def dropout_stream(self, epoch: int) -> torch.Tensor:
        """What keys the dropout of an epoch, see `uniforms`."""
        return stream(self.seed, _DROPOUT, epoch)

    def noise_stream(self, epoch: int) -> torch.Tensor:
        """What keys the noise on the inputs of an epoch, see `uniforms`."""
        return stream(self.seed, _NOISE, epoch)

    def _learn_scales(self) -> None:
        """Scale the initial weights by what a training step on the first batches shows."""
        inputs, targets = self.dataset.train.inputs.to(self.dtype), self.dataset.train.targets
        batches = [(inputs[rows], targets[rows]) for rows in self.order(0)]
        is_adaptive = self.rule.name != "sgd"
        learn_scales(self.network, self.loss, self.learning_rate, is_adaptive, batches)

    def _generator(self, purpose: int, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, purpose, epoch))

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have been taken with to be continued from."""
        return {
            "config": self.config,
            "seed": self.seed,
            "epochs": self.epochs,
            "dtype": str(self.dtype),
            "split_seed": self.dataset.split_seed,
            "data_hash": self.dataset.data_hash,
        }


def _layer_rate_ratio(settings: Settings, rule: UpdateRule) -> float:
    """The first layer's learning rate over that of the last, 1 where nothing is said."""
    ratio = settings.number("layer_rate_ratio", 1e-6, 1e6, default=1.0)
    if ratio != 1.0 and rule.own is not None:
        raise settings.error("layer_rate_ratio", f"1 or absent with the rule {rule.name!r}")
    return ratio


def epoch_scores(epoch: int, train_loss: float, predicted: Array, dataset: Dataset) -> Scores:
    """Scores of an epoch, from outputs [n, outputs] predicted for the validation rows.

    `validation_loss` is the log loss, or the mean squared error of standardised targets; NaN if
    it or the training loss is not finite, and so is the metric of the task if that is another.
    """
    targets = dataset.validation.targets.numpy()
    if dataset.kind == "classification":
        measured = metrics.log_loss(predicted, targets)
        other = {"validation_accuracy": metrics.accuracy(predicted, targets)}
    else:
        scale = dataset.target_scale
        measured = metrics.mean_squared_error(predicted, targets)
        other = {"validation_rmse": metrics.rmse(predicted * scale, targets * scale)}
    finite = math.isfinite(train_loss + measured)
    scores = {"epoch": epoch, "train_loss": train_loss}
    scores |= {LOSS: measured if finite else math.nan, **other}
    if (metric := dataset.metric) != LOSS:
        if metric not in scores:
            scores[metric] = class_score(metric, dataset.labels, predicted, targets)
        scores[metric] = scores[metric] if finite else math.nan
    return scores


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """Run torch on `count` threads meanwhile; the number is one for the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
