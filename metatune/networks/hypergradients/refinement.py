"""Refining: a proposal's continuous hyperparameters, improved by hypergradients before it trains.

The first steps of training are unrolled again and again from the same start on the same batches,
so that what is descended is a function, in the unit coordinates of the search space. It is judged
by the same validation rows as trials are; test rows are never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch

from metatune.networks.hypergradients.hypergradient import windows
from metatune.networks.hypergradients.hyperparameters import hyperparameters
from metatune.networks.hypergradients.unrolling import Unrolling
from metatune.networks.training import Training, threads_of_torch
from metatune.parameters import Float, Vectors
from metatune.space import Config, SearchSpace

WINDOW = 20  # steps that are differentiated through at a time, if memory allows
_MEMORY = 0.25  # of what is free, which they may take
_ROUNDS = 12
_SHARE = 0.1  # of the training that is unrolled in a round
_FIRST, _LONGEST, _SHORTEST = 0.1, 0.3, 0.01  # lengths of steps in the unit cube
_GROWTH, _CUT = 1.6, 0.4
_DOUBTED, _DETOUR = 2, 0.2  # after so many steps in vain a learning rate so much lower is tried
# The spread of predictions may be so many times that before training: log-odds and standardised
# targets alike are of the order of 1.
_DEAD, _WILD = 1e-3, 50.0


def asks_to_be_refined(config: Config) -> bool:
    """Whether a proposal asks to be refined."""
    return config.get("refine") == "hypergradient"


def refine(
    trainings: Sequence[Training], space: SearchSpace, rounds: int = _ROUNDS
) -> list[Config]:
    """Better values within `space` of the continuous hyperparameters of some proposals, which are
    members of one population and have not begun: only those that changed."""
    with threads_of_torch(trainings[0].threads):
        return _Refinement(trainings, space).run(rounds)


@dataclass(frozen=True)
class _Measured:
    """What unrolling gave at a place: the mean `loss` at the ends of windows, its `slope` [H], and
    how much the predictions of the last one differ from row to row."""

    loss: float
    slope: Vectors
    spread: float


@dataclass
class _Search:
    """Where the search for one proposal is, in the unit cube; `rate` is the coordinate of the
    learning rate, `start` what is measured before training."""

    place: Vectors
    rate: int
    start: _Measured
    length: float = _FIRST
    best: Vectors | None = None
    known: _Measured | None = None
    failures: int = 0  # since the best was found

    def learn(self, found: _Measured) -> None:
        """Take in what was measured at the present place, and go to the next: down the gradient
        from the best place, or, where none is of use yet, to lower learning rates."""
        if self.best is None or self.known is None:
            if self._is_wrecked(found, 1.0 / _FIRST):
                self.place = self._lower(self.place, self.length)
                self.length = min(self.length * _GROWTH, _LONGEST)
                return
            self.best, self.known, self.length = self.place, found, _FIRST
        elif found.loss < self.known.loss and not self._is_wrecked(found, 1.0 / _SHORTEST):
            self.best, self.known, self.failures = self.place, found, 0
            self.length = min(self.length * _GROWTH, _LONGEST)
        else:
            self.failures += 1
            if self.failures == _DOUBTED:
                self.place = self._lower(self.best, _DETOUR)
                return
            self.length *= _CUT
        self.place = self._next(self.best, self.known)

    def _is_wrecked(self, found: _Measured, steepest: float) -> bool:
        """Whether the learning rate is so high that gradients say nothing any more: training
        diverged, or is chaotic, or left a network that predicts the same for all rows or wildly
        different values."""
        steepness = abs(found.slope[self.rate])
        sane = found.loss < self.start.loss and steepness <= steepest * found.loss  # NaN is not
        lively = _DEAD * self.start.spread <= found.spread <= _WILD * max(self.start.spread, 1.0)
        return not (sane and lively)

    def _lower(self, place: Vectors, by: float) -> Vectors:
        lower = place.copy()
        lower[self.rate] = max(0.0, lower[self.rate] - by)
        return lower

    def _next(self, best: Vectors, known: _Measured) -> Vectors:
        """One step from the best place along its gradient, the largest part of which it sets to 1.

        For nothing count parts that lead out of the cube, and those that are too steep: where a
        weight had no gradient at all, the rate of Adam's change by it is that over 1e-8.
        """
        slope = known.slope
        inside = np.where(slope > 0, best > 0.0, best < 1.0)
        slope = np.where(inside & (np.abs(slope) <= known.loss / _SHORTEST), slope, 0.0)
        largest = float(np.abs(slope).max())
        return np.clip(best - self.length * slope / (largest or 1.0), 0.0, 1.0)


class _Refinement:
    def __init__(self, trainings: Sequence[Training], space: SearchSpace) -> None:
        self._trainings, self._unrolling = trainings, Unrolling(trainings)
        known = [hyperparameters(training) for training in trainings]
        found: dict[str, Float] = {}
        for name in dict.fromkeys(name for of in known for name in of):
            parameter = space.parameters.get(name)
            if isinstance(parameter, Float):
                found[name] = parameter
        self._parameters = found
        self._has = np.array(
            [[name in of and name in t.config for name in found]
             for of, t in zip(known, trainings, strict=True)]
        )  # fmt: skip
        first = trainings[0]
        steps = math.ceil(_SHARE * first.epochs * first.batches)
        self._steps = max(WINDOW, steps)
        self._window = WINDOW

    def run(self, rounds: int) -> list[Config]:
        names = list(self._parameters)
        if "learning_rate" not in names:
            return [{} for _ in self._trainings]
        rate = names.index("learning_rate")
        free, step = psutil.virtual_memory().available, self._bytes_of_step()
        self._window = max(1, min(WINDOW, int(_MEMORY * free / step)))
        first = self._unrolling.predict(self._unrolling.start({}))
        before = zip(first.losses.tolist(), first.spreads.tolist(), strict=True)
        searches = [
            _Search(place, rate, _Measured(loss, np.zeros(len(names)), spread))
            for place, (loss, spread) in zip(self._places(), before, strict=True)
        ]
        for _ in range(rounds):
            places = np.stack([search.place for search in searches])
            for search, found in zip(searches, self._measure(places), strict=True):
                search.learn(found)
        return [
            self._config(search.place if search.best is None else search.best, index)
            for index, search in enumerate(searches)
        ]

    def _bytes_of_step(self) -> int:
        values = {name: self._unrolling.values(name) for name in self._parameters}
        return self._unrolling.bytes_of_step({n: v.requires_grad_() for n, v in values.items()})

    def _places(self) -> list[Vectors]:
        """Where each proposal is in the unit cube, the middle for what it has not."""
        places = []
        for training, has in zip(self._trainings, self._has, strict=True):
            named = zip(self._parameters.items(), has, strict=True)
            place = [p.to_unit(training.config[name]) if h else 0.5 for (name, p), h in named]
            places.append(np.array(place))
        return places

    def _measure(self, places: Vectors) -> list[_Measured]:
        """What unrolling gives at places [K, H]."""
        values, scales = {}, np.empty_like(places)
        for column, (name, parameter) in enumerate(self._parameters.items()):
            own = self._unrolling.values(name)
            has = torch.from_numpy(self._has[:, column])
            at = [parameter.from_unit(float(u)) for u in places[:, column]]
            values[name] = torch.where(has, torch.tensor(at, dtype=own.dtype), own)
            scales[:, column] = _scales(parameter, np.array(at))
        losses, gradients = [], []
        for window in windows(self._unrolling, values, self._steps, self._window):
            losses.append(window.losses.double().numpy())
            found = [window.gradients[name].double().numpy() for name in values]
            gradients.append(np.stack(found, axis=1))
        slopes = np.where(self._has, np.mean(gradients, axis=0) * scales, 0.0)
        means = np.mean(losses, axis=0).tolist()
        rows = zip(means, slopes, window.spreads.tolist(), strict=True)
        return [_Measured(*row) for row in rows]

    def _config(self, place: Vectors, index: int) -> Config:
        config = {
            name: parameter.from_unit(float(u))
            for (name, parameter), u, has in zip(
                self._parameters.items(), place, self._has[index], strict=True
            )
            if has
        }
        before = self._trainings[index].config
        return {name: value for name, value in config.items() if value != before[name]}


def _scales(parameter: Float, values: Vectors) -> Vectors:
    """How fast a value changes with its place in the unit interval."""
    if parameter.log:
        return values * math.log(parameter.high / parameter.low)
    return np.full(len(values), parameter.high - parameter.low)
