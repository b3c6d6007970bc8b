"""Training steps of K networks as one program, in turn with the plain loop's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from results import Row

from metatune.networks.checkpoints import Tensors
from metatune.networks.data.dataset import Dataset
from metatune.networks.program import Program
from metatune.networks.stacked_training import StackedTraining
from metatune.networks.training import Training
from population_benchmark.cases import Case, PlainLoop, cpu_seconds, dataset, median_pair

DEFAULT, FUSED_OPTIMIZER = "plain loop, AdamW", "plain loop, AdamW(fused=True)"
BATCHES = 16  # of an epoch
# Networks that the plain loop trains in a turn: what each takes does not depend on how many.
_PLAIN_NETWORKS = 4
# CPU seconds of a turn of one engine: at least, and at most where an epoch takes longer.
_LEAST, _MOST = 0.1, 0.3


@dataclass(frozen=True)
class Load:
    """A case, and for which K it is measured; compiled where that is said. `at_once` is how many
    of the K are computed as one, by default all."""

    case: Case
    counts: Sequence[int]
    compiled: Sequence[int] = ()
    at_once: int | None = None


class Stacked:
    """The training of `count` members of a population, `at_once` of them as one program, without
    its scoring."""

    def __init__(self, case: Case, data: Dataset, count: int, at_once: int) -> None:
        rates = [1e-3 * (1 + index / count) for index in range(count)]
        self._trainings = [
            Training({**case.config, "learning_rate": rate}, data, seed)
            for seed, rate in enumerate(rates)
        ]
        first, self.count = self._trainings[0], count
        self.program = Program(first.network, first.loss, first.rule)
        self._stacked = StackedTraining(data, self.program, torch.float32, torch.device("cpu"))
        rows = [self.program.state(t.network, torch.float32) for t in self._trainings]
        self._parts = [slice(start, start + at_once) for start in range(0, count, at_once)]
        self._states: list[Tensors] = [
            {name: torch.cat([row[name] for row in rows[part]]) for name in rows[0]}
            for part in self._parts
        ]

    def train(self, batches: int) -> None:
        """Train each member on some batches of an epoch."""
        for training in self._trainings:
            training.epoch += 1
        for state, part in zip(self._states, self._parts, strict=True):
            self._stacked.train(state, self._trainings[part], batches)


def step_rows(load: Load, repetitions: int) -> list[Row]:
    """Steps of a member per CPU second on one thread, for each K, engine and peer."""
    data = dataset(load.case.shape, BATCHES)
    peers = {
        DEFAULT: PlainLoop(load.case, data, _PLAIN_NETWORKS),
        FUSED_OPTIMIZER: PlainLoop(load.case, data, _PLAIN_NETWORKS, fused=True),
    }
    rows = []
    for count in load.counts:
        at_once = load.at_once or count
        engines = {"eager": Stacked(load.case, data, count, at_once)}
        seconds_to_compile = 0.0
        if count in load.compiled:
            engines["compiled"] = Stacked(load.case, data, count, at_once)
            engines["compiled"].program.compile(at_once)
            began = time.perf_counter()
            engines["compiled"].train(1)
            seconds_to_compile = time.perf_counter() - began
        name = f"{load.case}, K={count}" + (f", {at_once} at once" if at_once < count else "")
        measured = _measured({**engines, **peers}, repetitions)
        for engine in engines:
            for peer in peers:
                pair = median_pair(list(zip(measured[engine], measured[peer], strict=True)))
                metric = f"{engine}_member_steps_per_cpu_second"
                rows.append(Row(name, metric, pair[0], peer, pair[1]))
        if "compiled" in engines:
            eager = 1000 * count / sorted(measured["eager"])[repetitions // 2]
            row = Row(
                name, "seconds_to_compile", seconds_to_compile, "1,000 eager steps of all", eager
            )
            rows.append(row)
    return rows


def _measured(engines: dict[str, Stacked | PlainLoop], repetitions: int) -> dict[str, list[float]]:
    """Rates of member steps, one for each repetition, in which the engines take turns."""
    batches = {name: _batches(engine.train) for name, engine in engines.items()}
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(repetitions):
        for name, engine in engines.items():
            turns, each = batches[name]

            def turn(engine: Stacked | PlainLoop = engine, n: int = turns, b: int = each) -> None:
                for _ in range(n):
                    engine.train(b)

            spent = cpu_seconds(turn)
            rates[name].append(engine.count * turns * each / spent)
    return rates


def _batches(train: Callable[[int], None]) -> tuple[int, int]:
    """How many times how many batches make a turn; found after a first batch."""
    train(1)
    seconds = cpu_seconds(lambda: train(2)) / 2
    each = min(BATCHES, max(1, round(_MOST / seconds)))
    return max(1, round(_LEAST / (each * seconds))), each
