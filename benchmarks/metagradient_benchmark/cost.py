"""What hypergradients cost, beside plain training of the same networks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from results import Row

from metatune.networks.checkpoints import Tensors
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.hypergradients.hypergradient import windows
from metatune.networks.hypergradients.hyperparameters import hyperparameters
from metatune.networks.hypergradients.unrolling import Unrolling
from metatune.networks.program import ONLINE_RATES, ONLINE_WEIGHTS, WEIGHTS, Program
from metatune.networks.stacked_training import StackedTraining
from metatune.networks.training import Training
from metatune.space import Config

STEPS = 20
NETWORKS: dict[str, Config] = {
    "MLP 64-36-36-10": {"network": "mlp", "depth": 2, "width": 36, "normalization": "none"},
    "MLP 64-98-98-10": {"network": "mlp", "depth": 2, "width": 98, "normalization": "none"},
    "CNN": {
        "network": "cnn", "blocks": 2, "channels": 8, "kernel": 3, "normalization": "batch",
        "pooling": "average", "readout": "average",
    },
}  # fmt: skip
_TRAINING: Config = {
    "activation": "relu", "dropout": 0.0, "initializer": "kaiming", "initializer_gain": 1.0,
    "optimizer": "adamw", "beta1": 0.9, "beta2": 0.999, "weight_decay": 1e-3,
    "gradient_clipping": False, "batch_size": 32, "loss": "cross_entropy", "label_smoothing": 0.1,
}  # fmt: skip
_ONLINE: Config = {"schedule": "hypergradient", "hypergradient_rate": 0.02}


def cost_rows(name: str, count: int, repetitions: int) -> list[Row]:
    """Ratios of CPU seconds of one thread for STEPS steps of `count` networks, each taken in turn
    with plain training; of the repetitions the one with the median ratio."""
    dataset = _digits()
    plain = _steps(dataset, name, count, {"schedule": "constant"})
    case = f"{name}, K={count}, {STEPS} steps of 32 rows"
    peer = "plain training"
    rows = []
    for metric, other in (
        ("CPU s, hypergradients of all hyperparameters, reverse", _reverse(dataset, name, count)),
        ("CPU s, online schedule", _steps(dataset, name, count, _ONLINE)),
    ):
        pairs = [(_seconds(other), _seconds(plain)) for _ in range(repetitions + 1)][1:]
        ratio = statistics.median_low([mine / theirs for mine, theirs in pairs])
        mine, theirs = next(pair for pair in pairs if pair[0] / pair[1] == ratio)
        rows.append(Row(case, metric, mine, peer, theirs))
    return rows


def _digits() -> Dataset:
    whole = load("digits")
    rows = STEPS * 32
    few = Split(whole.train.inputs[:rows], whole.train.targets[:rows])
    return replace(whole, train=few)


def _trainings(dataset: Dataset, name: str, count: int, schedule: Config) -> list[Training]:
    config = {**NETWORKS[name], **_TRAINING, **schedule}
    rates = [1e-3 * (1 + index / count) for index in range(count)]
    return [
        Training({**config, "learning_rate": rate}, dataset, seed, epochs=20)
        for seed, rate in enumerate(rates)
    ]


def _steps(dataset: Dataset, name: str, count: int, schedule: Config) -> Callable[[], object]:
    """Training as populations train."""
    trainings = _trainings(dataset, name, count, schedule)
    program = Program(trainings[0].network, trainings[0].loss, trainings[0].rule)
    stacked = StackedTraining(dataset, program, torch.float32, torch.device("cpu"))
    rows = []
    for training in trainings:
        training.epoch = 1
        row: Tensors = program.state(training.network, torch.float32)
        if training.online is not None:
            row |= {ONLINE_RATES: torch.ones(1, 1), ONLINE_WEIGHTS: row[WEIGHTS].clone()}
        rows.append(row)
    state = {key: torch.cat([row[key] for row in rows]) for key in rows[0]}
    return lambda: stacked.train(state, trainings, STEPS)


def _reverse(dataset: Dataset, name: str, count: int) -> Callable[[], object]:
    trainings = _trainings(dataset, name, count, {"schedule": "constant"})
    unrolling = Unrolling(trainings)
    values = {known: unrolling.values(known) for known in hyperparameters(trainings[0])}
    return lambda: list(windows(unrolling, values, STEPS, STEPS))


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
