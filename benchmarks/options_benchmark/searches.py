"""Searches with an option of a search space, and without."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from metatune import Categorical, ExperienceStore, Float, SearchSpace, Study, Trial
from metatune.networks.data.dataset import Dataset
from metatune.networks.data.loading import load
from metatune.networks.hypergradients.refinement import asks_to_be_refined, refine
from metatune.networks.inheritance import weights_by_place
from metatune.networks.lineage import LINEAGE, training_along
from metatune.networks.schedules import POINTS
from metatune.networks.training import Training
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.population_worker import PopulationWorker
from metatune.orchestration.populations import Populations
from metatune.orchestration.problem import Problem, dataset_problem, fused, network_problem
from metatune.orchestration.snapshots import Snapshots
from metatune.parameters import Parameter
from metatune.space import Config
from metatune.trial import best_trial, derive_seed

EPOCHS = 27
POPULATIONS, ALONE = "population-based training", "the same populations"
_LOST = 10.0  # what a training counts as that never had a finite loss
_LEAST = 0.01  # what no loss counts below: small data sets are at times predicted without error
_SIZE = 16


def _only(*values: str | int | bool) -> Categorical:
    return Categorical(values)


# The lines of each option, which take the place of those of the same names, and of those that
# exist only under other values of these.
OPTIONS: Mapping[str, Mapping[str, Parameter]] = {
    "focal loss": {"loss": _only("focal"), "focal_gamma": Float(0.25, 3.0)},
    "parametric loss": {
        "loss": _only("parametric"),
        "focal_gamma": Float(0.0, 2.0),
        "temperature": Float(0.5, 2.0, log=True),
        "poly_1": Float(-0.9, 4.0),
    },
    "class weighting": {"loss": _only("parametric"), "class_weighting": Float(0.2, 1.0)},
    "one cycle": {"schedule": _only("one_cycle"), "peak_fraction": Float(0.1, 0.5)},
    "piecewise schedule": {
        "schedule": _only("piecewise"),
        **{name: Float(0.01, 3.0, log=True) for name in POINTS},
    },
    "online hypergradient": {
        "schedule": _only("hypergradient"),
        "hypergradient_rate": Float(1e-4, 1e-1, log=True),
    },
    "layer rates": {"layer_rate_ratio": Float(0.1, 10.0, log=True)},
    "input noise": {"input_noise": Float(0.0, 0.5)},
    "feature share": {"feature_share": Float(0.3, 1.0)},
    "GradInit": {"initializer": _only("gradinit")},
    "skip connections": {"skip": _only("residual")},
    "RMS normalization": {"normalization": _only("rms")},
    "weight sharing": {"inherit": _only("best")},
    "refinement": {"refine": _only("hypergradient")},
    POPULATIONS: {"exploit": _only("truncation"), "exploit_epochs": _only(3)},
}
# What differs between the members of a population here; architecture and optimizer are fixed.
_FIXED: Mapping[str, Parameter] = {
    "depth": _only(2),
    "width": _only(32),
    "activation": _only("gelu"),
    "normalization": _only("none"),
    "optimizer": _only("adamw"),
    "batch_size": _only(32),
    "gradient_clipping": _only(False),
}


@dataclass(frozen=True)
class Outcome:
    """Best validation losses of each configuration [n], and the test loss of the best of them."""

    validation: tuple[float, ...]
    test: float


def searched(case: tuple[str | None, str, int, int]) -> Outcome:
    """The outcome of a search: an option or None, a task, a seed, and how many configurations."""
    option, task, seed, count = case
    if option in (POPULATIONS, ALONE):
        return _in_populations(task, seed, 2 * _SIZE if count > 2 else 4, option == POPULATIONS)
    return _one_by_one(option, task, seed, count)


def _one_by_one(option: str | None, task: str, seed: int, count: int) -> Outcome:
    dataset = load(task)
    validation: list[float] = []
    tests: list[float] = []
    parent = None
    for number, config in enumerate(_configurations(option, task, seed, count)):
        own_seed = derive_seed(seed, number, 2)
        training = Training(config, dataset, own_seed, EPOCHS, parent=parent)
        if asks_to_be_refined(config):
            (found,) = refine([training], _space(task))
            training = Training({**config, **found}, dataset, own_seed, EPOCHS)
        losses = [scores["validation_loss"] for scores in training.fit()]
        validation.append(_best(losses))
        tests.append(_test(training.test_scores(), dataset))
        if validation[-1] == min(validation):
            parent = weights_by_place(training.network)
    return Outcome(tuple(validation), tests[int(np.argmin(validation))])


def _space(task: str) -> SearchSpace:
    return network_problem("mlp", task, EPOCHS).space


def _configurations(option: str | None, task: str, seed: int, count: int) -> Iterator[Config]:
    """Random configurations of the shipped space, with an option's lines."""
    space = _space(task)
    lines = SearchSpace(dict(OPTIONS[option])) if option else None
    for number in range(count):
        config = space.sample(np.random.default_rng(derive_seed(seed, number)))
        if lines is not None:
            own = lines.sample(np.random.default_rng(derive_seed(seed, number, 1)))
            config = {k: v for k, v in config.items() if k not in _gone(space, own)} | own
        yield config


def _gone(space: SearchSpace, own: Config) -> set[str]:
    """What does not exist beside an option's values; all losses here take label smoothing, so that
    what is compared is not that."""
    return {
        name
        for name, conditions in space.when.items()
        if any(parent in own and own[parent] not in v for parent, v in conditions.items())
    } - {"label_smoothing"}


def _in_populations(task: str, seed: int, count: int, exploits: bool) -> Outcome:
    """Random search in populations of one architecture, as `metatune search` runs it but for Ray:
    with `exploits` members go on from one another."""
    dataset, space = load(task), _space(task)
    lines = {**_FIXED, **(OPTIONS[POPULATIONS] if exploits else {})}
    gone = _gone(space, SearchSpace(dict(_FIXED)).sample(np.random.default_rng(0)))
    kept = {name: p for name, p in space.parameters.items() if name not in gone} | lines
    when = {k: v for k, v in space.when.items() if k in kept and k not in lines}
    searched = SearchSpace(kept, {k: v for k, v in when.items() if not set(v) & set(_FIXED)})
    problem = fused(dataset_problem(searched, dataset, task, EPOCHS), _SIZE, 0.0)
    trials = _trained(problem, seed, count)
    best = best_trial(problem.task, trials)
    if best is None:
        return Outcome(tuple(_LOST for _ in trials), _LOST)
    lineage = best.training.get(LINEAGE)
    training = training_along(lineage, best.config, dataset, best.seed, EPOCHS, 1)
    while training.epoch < EPOCHS:
        training.step()
    values = tuple(_best([] if trial.value is None else [trial.value]) for trial in trials)
    return Outcome(values, _test(training.test_scores(), dataset))


def _trained(problem: Problem, seed: int, count: int) -> list[Trial]:
    training = {**problem.training, "at_once": 8, "compiled": False}
    study = Study("search", problem.task, problem.space, seed, count, training=training)
    assert problem.dataset is not None
    with tempfile.TemporaryDirectory() as folder:
        store = ExperienceStore(folder)
        store.put_study(study)
        with GroupCommit(store.append) as commits:
            coordinator = Coordinator(study, [], RandomSearch(), NoPruner(), commits)
            populations = Populations(coordinator, _SIZE, EPOCHS)
            while (name := populations.next()) is not None:
                snapshots = Snapshots(store.filesystem, f"{folder}/populations/{name}")
                worker = PopulationWorker(
                    name, populations.answer, problem.dataset, training, snapshots
                )
                while worker.live:
                    worker.tick()
                populations.leave(name)
            return coordinator.trials


def _best(losses: list[float]) -> float:
    return max(_LEAST, min((loss for loss in losses if math.isfinite(loss)), default=_LOST))


def _test(scores: Mapping[str, float], dataset: Dataset) -> float:
    name = "test_log_loss" if dataset.kind == "classification" else "test_rmse"
    return max(_LEAST, scores[name]) if math.isfinite(scores[name]) else _LOST
