"""How much of what a bad learning rate costs refinement gets back, beside other ways to do so."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from results import Row

from metatune.networks.data.loading import Dataset, load
from metatune.networks.hypergradients.refinement import refine
from metatune.networks.population import Member, Population
from metatune.networks.training import Training
from metatune.parameters import Float
from metatune.space import Config, SearchSpace

TASKS = ("breast_cancer", "diabetes", "digits", "wine")
RULES = ("adamw", "sgd")
STARTS = {"x100": 100.0, "/100": 0.01}
# What a proposal is refined in: seven decades of learning rates, so that x100 is far from good.
SPACE = SearchSpace(
    {
        "learning_rate": Float(1e-6, 100.0, log=True),
        "momentum": Float(0.0, 0.99),
        "beta1": Float(0.8, 0.99),
        "beta2": Float(0.9, 0.9999),
        "weight_decay": Float(1e-6, 1e-1, log=True),
        "dropout": Float(0.0, 0.5),
        "initializer_gain": Float(0.4, 2.5, log=True),
        "label_smoothing": Float(0.0, 0.2),
    }
)
_LOCAL, _RESTART = 0.1, 0.2  # deviation of a perturbation in the unit cube, share of restarts


@dataclass(frozen=True)
class Setting:
    """A task and update rule, trained for so many epochs from each seed."""

    task: str
    rule: str
    seeds: int
    epochs: int


def config(task: str, rule: str, rate: float) -> Config:
    """A small multi-layer perceptron."""
    made: Config = {
        "network": "mlp", "depth": 2, "width": 32, "activation": "relu", "normalization": "none",
        "dropout": 0.1, "initializer": "kaiming", "initializer_gain": 1.0, "optimizer": rule,
        "learning_rate": rate, "weight_decay": 1e-3, "gradient_clipping": False,
        "schedule": "constant", "batch_size": 32,
    }  # fmt: skip
    adaptive: Config = {"beta1": 0.9, "beta2": 0.999}
    plain: Config = {"momentum": 0.5, "nesterov": False}
    made |= plain if rule == "sgd" else adaptive
    smoothed: Config = {"loss": "cross_entropy", "label_smoothing": 0.01}
    return made | ({"loss": "mse"} if task == "diabetes" else smoothed)


def recovery_rows(setting: Setting, decades: Sequence[float]) -> list[Row]:
    """Shares of the loss gap to the tuned rate, the best of a grid, summed over seeds: 1 is all of
    it. A loss is the best validation loss of a training, at most that of a constant."""
    dataset = load(setting.task)
    runs = _Runs(dataset, setting)
    grid = [10.0**decade for decade in decades]
    of_grid = [runs.losses([config(setting.task, setting.rule, rate)] * setting.seeds)
               for rate in grid]  # fmt: skip
    tuned = int(np.argmin([np.mean(losses) for losses in of_grid]))
    rows = []
    for start, times in STARTS.items():
        bad = config(setting.task, setting.rule, grid[tuned] * times)
        unrefined = runs.losses([bad] * setting.seeds)
        refined, trainings = runs.refined(bad)
        searched = runs.searched(bad, trainings)
        online = runs.losses(
            [{**bad, "schedule": "hypergradient", "hypergradient_rate": 0.05}] * setting.seeds
        )
        gap = sum(unrefined) - sum(of_grid[tuned])
        back = {
            name: (sum(unrefined) - sum(losses)) / gap
            for name, losses in (("refined", refined), ("online", online), ("random", searched))
        }
        case = f"{setting.task}, {setting.rule}, {start}"
        share = "share of the loss gap to the tuned rate recovered"
        mean = float(np.mean(refined))
        rows += [
            Row(case, share, back["refined"], "bar", 0.9),
            Row(case, share, back["refined"], "online schedule", back["online"]),
            Row(case, share, back["refined"], "random restarts and perturbation, equal cost",
                back["random"]),
            Row(case, "validation loss", mean, "tuned rate", float(np.mean(of_grid[tuned]))),
            Row(case, "validation loss", mean, "no refinement", float(np.mean(unrefined))),
            Row(case, "CPU s of refining", trainings, "one training", 1.0),
        ]  # fmt: skip
    return rows


class _Runs:
    def __init__(self, dataset: Dataset, setting: Setting) -> None:
        self._dataset, self._setting = dataset, setting
        self._constant = _loss_of_a_constant(dataset)

    def losses(self, configs: Sequence[Config]) -> list[float]:
        """The best validation loss of each, trained from seeds 0, 1, ..."""
        population = Population(self._dataset, epochs=self._setting.epochs, at_once=len(configs))
        for seed, one in enumerate(configs):
            population.enter(Member(seed, one, seed))
        best = [self._constant] * len(configs)
        for _ in range(self._setting.epochs):
            for number, scores in population.step().items():
                loss = scores["validation_loss"]
                best[number] = min(best[number], loss if math.isfinite(loss) else math.inf)
        return best

    def refined(self, bad: Config) -> tuple[list[float], float]:
        """The losses after refining, and how many trainings that cost."""
        seeds, epochs = range(self._setting.seeds), self._setting.epochs
        began = time.process_time()
        changes = refine([Training(bad, self._dataset, seed, epochs) for seed in seeds], SPACE)
        middle = time.process_time()
        losses = self.losses([{**bad, **change} for change in changes])
        ended = time.process_time()
        return losses, (middle - began) / (ended - middle)

    def searched(self, bad: Config, trainings: float) -> list[float]:
        """The losses after as many whole trainings of random restarts and local perturbations of
        what is best so far, beginning with the bad rate."""
        names = [name for name in SPACE.names if name in bad]
        best, at = self.losses([bad] * self._setting.seeds), [bad] * self._setting.seeds
        rng = np.random.default_rng(0)
        for _ in range(math.ceil(trainings)):
            tried = [self._perturbed(one, names, rng) for one in at]
            for seed, loss in enumerate(self.losses(tried)):
                if loss < best[seed]:
                    best[seed], at[seed] = loss, tried[seed]
        return best

    def _perturbed(self, one: Config, names: Sequence[str], rng: np.random.Generator) -> Config:
        restarts = rng.random() < _RESTART
        made = dict(one)
        for name in names:
            parameter = SPACE.parameters[name]
            near = parameter.to_unit(one[name]) + _LOCAL * rng.standard_normal()
            u = rng.random() if restarts else min(max(near, 0.0), 1.0)
            made[name] = parameter.from_unit(u)
        return made


def _loss_of_a_constant(dataset: Dataset) -> float:
    known, asked = dataset.train.targets, dataset.validation.targets
    if dataset.kind == "regression":
        return float(((asked - known.mean(0)) ** 2).mean())
    shares = torch.bincount(known, minlength=dataset.outputs) / len(known)
    return -float(shares.log()[asked].mean())
