"""Epochs of many networks at once: the batches of each, and how long they take."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import psutil
import torch

from metatune.networks.checkpoints import Tensors, under
from metatune.networks.data.dataset import Dataset
from metatune.networks.online_rate import OnlineRate
from metatune.networks.own_updates import OwnStackedUpdate
from metatune.networks.program import (
    BUFFER,
    ONLINE_RATES,
    ONLINE_WEIGHTS,
    STATE,
    UPDATES,
    WEIGHTS,
    Batch,
    Program,
)
from metatune.networks.training import CHUNK, Training
from metatune.networks.uniforms import drawn, normals
from metatune.networks.updates import (
    OnlineUpdate,
    RowwiseUpdate,
    StackedUpdate,
    Update,
    clipped_op,
)

_MEASURED_SECONDS = 0.01
_MEASURED_BATCHES = 6
_READINGS = 2


class StackedTraining:
    """Trains networks by a program, each row of a state on the batches that its training says."""

    def __init__(
        self, dataset: Dataset, program: Program, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.program, self._dtype, self._device = program, dtype, device
        self._inputs = dataset.train.inputs.to(device, dtype)
        self._targets = dataset.train.targets.to(device)
        self._validated = dataset.validation.inputs.to(device, dtype)

    def train(self, state: Tensors, trainings: Sequence[Training], batches: int) -> torch.Tensor:
        """The first `batches` of the present epoch of each of `trainings`, a row of `state` for
        each, which is changed in place; their mean losses [K]."""
        if len(trainings) == 1 and self._device.type == "cpu":
            return self._train_alone(state, trainings[0], batches)
        update = self._update(state, trainings)
        parameters = self._tensor([t.loss.parameters for t in trainings])
        rates = self._tensor(
            [[[t.learning_rate_at(t.epoch, i)] for t in trainings] for i in range(batches)]
        )
        orders = torch.stack([t.order(t.epoch) for t in trainings], dim=1).to(self._device)
        total = torch.zeros(len(trainings), dtype=self._dtype, device=self._device)
        uniforms = self._uniforms(state, trainings, orders.shape[2], batches)
        noises = self._noises(trainings, orders.shape[2], batches)
        for rows, rate, drawn_now, noise in zip(
            orders[:batches], rates, uniforms, noises, strict=True
        ):
            inputs = rows_of(self._inputs, rows)
            inputs = inputs if noise is None else inputs + noise
            batch = Batch(inputs, rows_of(self._targets, rows), parameters, rate, drawn_now)
            total += self.program.step(state, update, batch)
        return total / batches

    def _uniforms(
        self, state: Tensors, trainings: Sequence[Training], rows: int, batches: int
    ) -> Iterable[Tensors]:
        """What dropout looks at in each of the batches of so many rows."""
        if not any(bool((state[name] > 0.0).any()) for name in self.program.rates):
            return [{}] * batches
        streams = torch.stack([t.dropout_stream(t.epoch) for t in trainings]).to(self._device)
        sites = {name: (rows, *shape) for name, shape in self.program.sites.items()}
        return drawn(streams, sites, batches)

    def _noises(
        self, trainings: Sequence[Training], rows: int, batches: int
    ) -> Iterable[torch.Tensor | None]:
        """What is added to the inputs of each of the batches of so many rows, if anything is."""
        deviations = self._tensor([training.input_noise for training in trainings])
        if not deviations.any():
            return [None] * batches
        streams = torch.stack([t.noise_stream(t.epoch) for t in trainings]).to(self._device)
        shape = (rows, *self._inputs.shape[1:])
        scale = deviations.view(-1, *[1] * len(shape))
        return (noise.to(self._dtype) * scale for noise in normals(streams, shape, batches))

    def _train_alone(self, state: Tensors, training: Training, batches: int) -> torch.Tensor:
        """The same for one network, by the plain loop."""
        row = {name: tensor[0] for name, tensor in state.items()}
        named = {kind: self.program.named(kept) for kind, kept in under(STATE, row).items()}
        online = None
        if training.online is not None:
            online = self._online(state, [training])
        weights = self.program.named(row[WEIGHTS])
        training.use(weights, under(BUFFER, row), named, row[UPDATES][0], online)
        return torch.tensor([training.train(batches)], dtype=self._dtype)

    def _online(self, state: Tensors, trainings: Sequence[Training]) -> OnlineRate:
        """The online schedules of some members, which change `state` in place."""
        moves = [[0.0 if t.online is None else float(t.online.sensitivities)] for t in trainings]
        return OnlineRate(self._tensor(moves), state[ONLINE_RATES], state[ONLINE_WEIGHTS])

    def _update(self, state: Tensors, trainings: Sequence[Training]) -> Update:
        update = self._constant_update(state[WEIGHTS], trainings)
        if ONLINE_RATES not in state:
            return update
        return OnlineUpdate(update, self._online(state, trainings))

    def _constant_update(self, weights: torch.Tensor, trainings: Sequence[Training]) -> Update:
        rules, norms = [t.rule for t in trainings], [t.gradient_norm for t in trainings]
        own = [rule.own for rule in rules if rule.own is not None]
        if own:
            limits = self._tensor(norms)[:, None]
            clip = partial(clipped_op, limits=limits) if min(norms) < math.inf else torch.clone
            return OwnStackedUpdate(own, clip, self.program.named, weights)
        differ = any(len(training.layer_rates) > 1 for training in trainings)
        runs = [training.layer_rates for training in trainings] if differ else None
        if self._device.type == "cpu" and self.program.compiled_for != len(trainings):
            return RowwiseUpdate(rules, norms, weights, runs)
        return StackedUpdate(rules, norms, weights, runs)

    def predict(self, state: Tensors) -> torch.Tensor:
        """Outputs [K, rows, outputs] for the validation rows, in float64."""
        chunks = torch.split(self._validated, CHUNK)
        outputs = [self.program.predict(state, chunk) for chunk in chunks]
        return torch.cat(outputs, dim=1).double().cpu()

    def seconds(self, state: Tensors, trainings: Sequence[Training]) -> float:
        """How long a batch takes: of processor time, if that is what computes. `state` changes."""
        clock = time.process_time if self._device.type == "cpu" else self._synchronised
        start = clock()
        self.train(state, trainings, 1)  # the first one is slower
        many = clock() - start < _MEASURED_SECONDS
        batches = min(trainings[0].batches, _MEASURED_BATCHES) if many else 1
        readings = []
        for _ in range(_READINGS):
            start = clock()
            self.train(state, trainings, batches)
            readings.append((clock() - start) / batches)
        return min(readings)

    def fitting(self, state: Tensors, training: Training) -> int:
        """How many networks like the one of `state` [1, ...] fit into the memory that is free."""
        each = self.program.bytes_of_member(lambda: self.train(state, [training], 1))
        if self._device.type == "cpu":
            free = int(psutil.virtual_memory().available)
        else:
            free = torch.cuda.mem_get_info(self._device)[0]
        return max(1, free // each)

    def _synchronised(self) -> float:
        torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _tensor(self, values: list[Any]) -> torch.Tensor:
        return torch.tensor(values, dtype=self._dtype, device=self._device)


def rows_of(tensor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """`tensor[rows]`, in a fifth of its time."""
    return tensor.index_select(0, rows.view(-1)).view(*rows.shape, *tensor.shape[1:])
