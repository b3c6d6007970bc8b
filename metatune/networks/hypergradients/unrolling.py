"""Unrolled training: the first steps of many networks as a function of their hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.autograd import forward_ad
from torch.nn import functional

from metatune.errors import ConfigurationError
from metatune.networks.checkpoints import Tensors, under
from metatune.networks.hypergradients.differentiable import HeldDropout, differentiable
from metatune.networks.hypergradients.hyperparameters import (
    dropout_rate,
    hyperparameters,
    layer_rate_ratio,
    weights_at_gain,
)
from metatune.networks.hypergradients.unrolled_updates import Columns, States, updated
from metatune.networks.layer_rates import depth_shares
from metatune.networks.program import BUFFER, STATE, WEIGHTS, Batch, Program
from metatune.networks.stacked_training import rows_of
from metatune.networks.training import Training
from metatune.networks.uniforms import normal, uniforms

ROWS = 1024  # validation rows that are looked at, at most


@dataclass
class State:
    """Where K networks are after `step` steps: weights [K, P], states of the update rule, buffers,
    and, of online schedules, multipliers [K, 1] and the weights before the last update."""

    step: int
    weights: torch.Tensor
    states: States
    buffers: Tensors
    multipliers: torch.Tensor | None = None
    previous: torch.Tensor | None = None

    def detached(self) -> State:
        """The same as constants: what comes after does not depend on how it came about."""
        return State(
            self.step,
            self.weights.detach(),
            tuple(state.detach() for state in self.states),
            {name: buffer.detach().clone() for name, buffer in self.buffers.items()},
            None if self.multipliers is None else self.multipliers.detach(),
            None if self.previous is None else self.previous.detach(),
        )


@dataclass(frozen=True)
class Predicted:
    """Log losses, or mean squared errors, of K networks on validation rows [K], and how much their
    outputs differ from row to row, the mean of the standard deviations [K]."""

    losses: torch.Tensor
    spreads: torch.Tensor


class Unrolling:
    """The training of K networks of one architecture and rule, which Training trains one by one.

    Hyperparameters are given as tensors [K] by name and may require gradients; those that are not
    given, or NaN, are what the configurations say. Steps, batches and random numbers are those of
    Training. Raises ConfigurationError for an update rule of the user's.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        first = trainings[0]
        if first.rule.own is not None:
            raise ConfigurationError(
                f"configuration: optimizer = {first.rule.name!r} is a function of yours, whose "
                f"hyperparameters have no gradients here; use one of sgd, adam, adamw"
            )
        self.trainings, self.batches = trainings, first.batches
        self._dtype, self._dataset = first.dtype, first.dataset
        twins = [differentiable(training.network) for training in trainings]
        self._program = Program(twins[0], first.loss, first.rule)
        self._network = twins[0]
        rows = [self._program.state(twin, self._dtype) for twin in twins]
        self._start = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        shares = depth_shares(first.network)
        sizes = {name: p.numel() for name, p in first.network.named_parameters()}
        self._shares = torch.cat([self._full(sizes[name], shares[name]) for name in sizes])[None]
        self._inputs = first.dataset.train.inputs.to(self._dtype)
        validation = first.dataset.validation
        self._validated = validation.inputs[:ROWS].to(self._dtype), validation.targets[:ROWS]
        self._orders: tuple[int, torch.Tensor] = 0, torch.empty(0)

    def values(self, name: str) -> torch.Tensor:
        """What the configurations say of a hyperparameter, [K]; NaN where one has none."""
        known = [hyperparameters(training) for training in self.trainings]
        return self._tensor([of.get(name, math.nan) for of in known])

    def start(self, values: Mapping[str, torch.Tensor]) -> State:
        """Before the first step."""
        weights, gains = self._start[WEIGHTS], values.get("initializer_gain")
        if gains is not None:
            rows = zip(self.trainings, weights, gains, strict=True)
            weights = torch.stack([self._at_gain(*row) for row in rows])
        states = tuple(torch.zeros_like(weights) for _ in under(STATE, self._start))
        buffers = {name: tensor.clone() for name, tensor in under(BUFFER, self._start).items()}
        if any(training.online is not None for training in self.trainings):
            return State(0, weights, states, buffers, torch.ones_like(weights[:, :1]))
        return State(0, weights, states, buffers)

    def after(
        self, state: State, values: Mapping[str, torch.Tensor], steps: int, backward: bool = True
    ) -> State:
        """Where `state`, which is used up, leads in so many steps; if not `backward`, derivatives
        go forward only, as tangents."""
        columns = self._columns(values)
        parameters = self._loss_parameters(values)
        buffers = state.buffers | self._dropout_buffers(values)
        for step in range(state.step, state.step + steps):
            batch = self._batch(step, parameters, values)
            weights = state.weights
            if not (backward and weights.requires_grad):
                weights = _leaf(weights)
            losses = self._program.losses(weights, buffers, batch)
            (gradients,) = torch.autograd.grad(losses.sum(), weights, create_graph=backward)
            multipliers = self._moved(state, weights, gradients)
            rates = batch.rates if multipliers is None else batch.rates * multipliers
            now = Columns(**{**vars(columns), "rates": columns.rates * rates})
            name = self.trainings[0].rule.name
            after, states = updated(name, weights, gradients, state.states, now, step + 1, backward)
            state = State(step + 1, after, states, buffers, multipliers, weights)
        return state

    def bytes_of_step(self, values: Mapping[str, torch.Tensor]) -> int:
        """Memory that a step keeps until derivatives are taken, measured."""
        kept: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self.after(self.start(values), values, 1)
        return sum(kept.values())

    def predict(self, state: State) -> Predicted:
        """What is predicted for the (first) validation rows."""
        inputs, targets = self._validated
        self._network.eval()
        outputs = self._program.outputs(state.weights, state.buffers, inputs)
        spreads = outputs.detach().std(dim=1).mean(1)
        if self._dataset.kind == "classification":
            repeated = targets.expand(len(outputs), -1).flatten()
            flat = outputs.flatten(0, 1)
            costs = functional.cross_entropy(flat, repeated, reduction="none")
            return Predicted(costs.view(len(outputs), -1).mean(1), spreads)
        return Predicted(((outputs - targets) ** 2).flatten(1).mean(1), spreads)

    def _batch(
        self, step: int, parameters: torch.Tensor, values: Mapping[str, torch.Tensor]
    ) -> Batch:
        """What step number `step`, from 0, is taken on."""
        epoch, index = step // self.batches + 1, step % self.batches
        if self._orders[0] != epoch:
            orders = torch.stack([t.order(epoch) for t in self.trainings], dim=1)
            self._orders = epoch, orders
        rows = self._orders[1][index]
        inputs = rows_of(self._inputs, rows)
        noise = self._noise(epoch, index, inputs.shape, values)
        inputs = inputs if noise is None else inputs + noise
        shares = [[t.schedule((epoch - 1 + (index + 0.5) / t.batches) / t.epochs)]
                  for t in self.trainings]  # fmt: skip
        drawn = self._uniforms(epoch, index, inputs.shape[1])
        self._network.train()
        for module in self._network.modules():
            if isinstance(module, HeldDropout):
                module.train(bool(drawn))
        targets = self._dataset.train.targets[rows]
        return Batch(inputs, targets, parameters, self._tensor(shares), drawn)

    def _noise(
        self, epoch: int, index: int, shape: torch.Size, values: Mapping[str, torch.Tensor]
    ) -> torch.Tensor | None:
        deviations = self._of("input_noise", values, [t.input_noise for t in self.trainings])
        if not any(t.input_noise for t in self.trainings) and "input_noise" not in values:
            return None
        streams = torch.stack([t.noise_stream(epoch) for t in self.trainings])
        noise = normal(uniforms(streams, index, 0, math.prod(shape[1:]))).view(shape)
        return noise.to(self._dtype) * deviations.view(-1, *[1] * (len(shape) - 1))

    def _uniforms(self, epoch: int, index: int, rows: int) -> Tensors:
        if not any(dropout_rate(training) for training in self.trainings):
            return {}
        streams = torch.stack([training.dropout_stream(epoch) for training in self.trainings])
        drawn = {}
        for site, (name, shape) in enumerate(self._program.sites.items()):
            numbers = uniforms(streams, index, site, rows * math.prod(shape))
            drawn[name] = numbers.view(len(streams), rows, *shape)
        return drawn

    def _columns(self, values: Mapping[str, torch.Tensor]) -> Columns:
        rules = [training.rule for training in self.trainings]

        def column(name: str) -> torch.Tensor:
            return self._of(name, values, [getattr(rule, name) for rule in rules])[:, None]

        rates = self._of("learning_rate", values, [t.learning_rate for t in self.trainings])[
            :, None
        ]
        ratios = self._of(
            "layer_rate_ratio", values, [layer_rate_ratio(t) for t in self.trainings]
        )[:, None]
        if "layer_rate_ratio" in values or bool((ratios != 1.0).any()):
            rates = rates * ratios**self._shares
        norms = [training.gradient_norm for training in self.trainings]
        return Columns(
            rates,
            column("weight_decay"),
            column("momentum"),
            self._tensor([[float(rule.nesterov)] for rule in rules]),
            column("beta1"),
            column("beta2"),
            self._of("gradient_norm", values, norms)[:, None],
        )

    def _loss_parameters(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """[K, m]."""
        own = self._tensor([list(training.loss.parameters) for training in self.trainings])
        names = self.trainings[0].loss.names
        columns = [values.get(name, own[:, i]) for i, name in enumerate(names)]
        return torch.stack(columns, dim=1) if columns else own

    def _dropout_buffers(self, values: Mapping[str, torch.Tensor]) -> Tensors:
        """How much the noise of dropout is more than where it was drawn."""
        if "dropout" not in values:
            return {}
        rate = values["dropout"]
        drawn = self._tensor([dropout_rate(training) for training in self.trainings])
        has = drawn > 0.0
        # The variance of a factor is p / (1 - p).
        ratio = torch.where(has, rate * (1.0 - drawn), 1.0) / torch.where(
            has, drawn * (1.0 - rate), 1.0
        )
        names = [n for n in self._start if n.endswith("relative")]
        return {name.removeprefix(f"{BUFFER}/"): ratio.sqrt() for name in names}

    def _moved(
        self, state: State, weights: torch.Tensor, gradients: torch.Tensor
    ) -> torch.Tensor | None:
        """The multipliers of online schedules in the coming update, see OnlineRate."""
        if state.multipliers is None or state.previous is None:
            return state.multipliers
        way = state.previous - weights
        norms = way.norm(dim=1, keepdim=True) * gradients.norm(dim=1, keepdim=True)
        inner = (way * gradients).sum(dim=1, keepdim=True)
        cosines = torch.where(norms > 0, inner / torch.where(norms > 0, norms, 1.0), 0.0)
        moves = [0.0 if t.online is None else float(t.online.sensitivities) for t in self.trainings]
        return state.multipliers * (1.0 + self._tensor(moves)[:, None] * cosines)

    def _at_gain(self, training: Training, row: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        inputs = self._inputs[training.order(0)[0]]
        return weights_at_gain(training, self._program.named(row), gain, inputs)

    def _of(
        self, name: str, values: Mapping[str, torch.Tensor], own: Sequence[float]
    ) -> torch.Tensor:
        known = self._tensor(list(own))
        return torch.where(values[name].isnan(), known, values[name]) if name in values else known

    def _full(self, count: int, value: float) -> torch.Tensor:
        return torch.full((count,), value, dtype=self._dtype)

    def _tensor(self, values: Sequence[float] | Sequence[list[float]]) -> torch.Tensor:
        return torch.tensor(values, dtype=self._dtype)


def _leaf(tensor: torch.Tensor) -> torch.Tensor:
    """The same without history but for its tangent, to take gradients with respect to."""
    primal, tangent = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    leaf: torch.Tensor = primal.detach().requires_grad_()
    if tangent is None:
        return leaf
    return forward_ad.make_dual(leaf, tangent.detach())  # type: ignore[no-any-return, no-untyped-call]
