"""Initial weights learned across tasks, by Reptile or first-order MAML.

Tasks share the trunk of a network. The first and last layers, which see a task's own features and
outputs, are drawn anew for each training as "default" draws them; of these a factor is learned for
each weight and bias. Inner training is the ordinary one: the configuration's own update rule,
schedule, batches and dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from metatune.networks.checkpoints import Tensors, prefixed, under
from metatune.networks.data.dataset import Dataset
from metatune.networks.inheritance import gradients_by_place, is_of_task, weights_by_place
from metatune.networks.initializers import LEARNED, SCALES
from metatune.networks.learned import NOTHING, Learned
from metatune.networks.training import Training, threads_of_torch
from metatune.parameters import Value
from metatune.trial import derive_seed

Method = Literal["reptile", "fomaml"]
METHODS: tuple[Method, ...] = ("reptile", "fomaml")
ROUNDS, UPDATES = 40, 30
_RATE, _BETA1, _BETA2, _EPSILON = 3e-3, 0.9, 0.99, 1e-8  # of the outer Adam, for fomaml
_DRAWING = 1_000_003  # sets the first draw apart from those of rounds
_LEAST_FACTOR = 0.05


@dataclass(frozen=True)
class MetaTask:
    """A data set and a configuration to train on it for `epochs`; all tasks of a family have the
    same architecture. What the configuration says of initialization is not used; `learned` holds
    what else it may name."""

    dataset: Dataset
    config: Mapping[str, Value]
    epochs: int
    learned: Learned = NOTHING

    def training(self, seed: int, weights: Mapping[str, torch.Tensor] | None = None) -> Training:
        """The training from `weights` that `learn_initialization` gave, or as "default" draws."""
        left_out = ("initializer_gain", "inherit", "refine")
        config = {k: v for k, v in self.config.items() if k not in left_out}
        config["initializer"] = "default" if weights is None else LEARNED
        known = {} if weights is None else {LEARNED: prefixed(str(config["network"]), weights)}
        learned = replace(self.learned, initializations=known)
        return Training(config, self.dataset, seed, self.epochs, learned=learned)


def learn_initialization(
    tasks: Sequence[MetaTask],
    method: Method = "fomaml",
    rounds: int = ROUNDS,
    updates: int = UPDATES,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Tensors:
    """Initial weights of the trunk by their places, and factors of the other layers under SCALES.

    In each of `rounds` every task trains for `updates` steps from what is known so far, with a seed
    of its own. Reptile (Nichol et al. 2018, algorithm 2) then moves the weights towards the mean of
    what came of them, by a share that falls from 1 to 0, and each factor towards the projection of
    the trained layer onto what was drawn. First-order MAML (Finn et al. 2017, section 5.2) takes a
    step of Adam along the mean gradient of the validation loss there. `progress` is told after each
    round how many are done. Everything random follows from `seed`.
    """
    with threads_of_torch(1):
        first = tasks[0].training(derive_seed(seed, _DRAWING))
        known = weights_by_place(first.network)
        weights = {k: v for k, v in known.items() if not is_of_task(k)}
        weights |= prefixed(SCALES, {k: torch.ones(()) for k in known if is_of_task(k)})
        outer = _Adam(weights) if method == "fomaml" else None
        found_by = _ended if outer is None else _gradients
        for number in range(rounds):
            share = 1.0 - number / rounds
            moves = []
            for index, task in enumerate(tasks):
                training = task.training(derive_seed(seed, number, index), weights)
                drawn = weights_by_place(training.network)
                _train(training, updates)
                moves.append(found_by(training, weights, drawn))
            known = {name: torch.stack([of[name] for of in moves]).mean(dim=0) for name in weights}
            if outer is None:
                weights = {k: w + share * (known[k] - w) for k, w in weights.items()}
            else:
                weights = outer.step(weights, known, share)
            factors = prefixed(SCALES, under(SCALES, weights))
            weights |= {name: factor.clamp(min=_LEAST_FACTOR) for name, factor in factors.items()}
            progress(number + 1)
    return weights


def _train(training: Training, updates: int) -> None:
    left = updates
    while left > 0:
        training.epoch = training.epoch % training.epochs + 1
        batches = min(left, training.batches)
        training.train(batches)
        left -= batches


def _ended(training: Training, weights: Tensors, drawn: Tensors) -> Tensors:
    """What became of the weights, and the factor of each other layer under which what was drawn
    comes closest to what became of it; `weights` themselves where training diverged."""
    ended = weights_by_place(training.network)
    if not all(bool(tensor.isfinite().all()) for tensor in ended.values()):
        return weights
    moved = {name: tensor for name, tensor in ended.items() if not is_of_task(name)}
    for name, before in _varied(drawn).items():
        along = (ended[name] * before).sum() / before.square().sum()
        moved[f"{SCALES}/{name}"] = weights[f"{SCALES}/{name}"] * along
    return {**weights, **moved}


def _gradients(training: Training, weights: Tensors, drawn: Tensors) -> Tensors:
    """Gradients of the validation loss where training ended, taken for those where it began; 0
    where that is not finite."""
    rows = training.dataset.validation
    training.network.eval()
    training.network.zero_grad()
    loss = training.loss(training.network(rows.inputs.to(training.dtype)), rows.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    found = gradients_by_place(training.network)
    gradients = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in found.values()):
        return gradients
    gradients |= {name: tensor for name, tensor in found.items() if not is_of_task(name)}
    for name, before in _varied(drawn).items():
        factor = weights[f"{SCALES}/{name}"]
        gradients[f"{SCALES}/{name}"] = (found[name] * before).sum() / factor
    return gradients


def _varied(drawn: Tensors) -> Tensors:
    """What was drawn for a task, but for what is 0 everywhere."""
    return {name: tensor for name, tensor in drawn.items() if is_of_task(name) and tensor.any()}


class _Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) on weights by name; factors move ten times as fast."""

    def __init__(self, weights: Tensors) -> None:
        self._averages = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        self._squares = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        self._steps = 0

    def step(self, weights: Tensors, gradients: Tensors, share: float) -> Tensors:
        """The weights after a step at `share` of the learning rate."""
        self._steps += 1
        moved = {}
        for name, gradient in gradients.items():
            average = self._averages[name].lerp_(gradient, 1.0 - _BETA1)
            squares = self._squares[name].lerp_(gradient.square(), 1.0 - _BETA2)
            spread = (squares / (1.0 - _BETA2**self._steps)).sqrt() + _EPSILON
            rate = share * _RATE * (10.0 if name.startswith(SCALES) else 1.0)
            size = rate / (1.0 - _BETA1**self._steps)
            moved[name] = weights[name] - size * average / spread
        return moved
