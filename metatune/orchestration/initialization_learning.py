"""Learning initial weights across the tasks of a store, and what they are worth on each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from statistics import median
from typing import Any

import torch

from metatune.errors import InputError, MetatuneError, SpaceError
from metatune.experience.store import ExperienceStore
from metatune.networks.architectures.building import build
from metatune.networks.checkpoints import Tensors
from metatune.networks.data.loading import load
from metatune.networks.inheritance import is_of_task, weights_by_place
from metatune.networks.learned import Learned
from metatune.networks.meta_initialization import (
    ROUNDS,
    UPDATES,
    MetaTask,
    Method,
    learn_initialization,
)
from metatune.networks.own_code import is_own, own_names
from metatune.networks.population import PER_MEMBER
from metatune.networks.settings import Settings
from metatune.optimizers.transfer_model import Progress
from metatune.orchestration.learned_initializations import put_initialization
from metatune.parameters import Categorical, Value
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Trial, TrialState, derive_seed

_CHECK_SEEDS = 3
_CHECKING = 500_009  # sets the seeds of the check apart from those of learning


@dataclass(frozen=True)
class HeldOutTask:
    """A task left out: the epochs (median over seeds) in which training from the default
    initialization came to its best validation loss, those in which training from what was learned
    on the other tasks came as low (infinite if it did not), and the best losses of both."""

    task: str
    default_epochs: float
    learned_epochs: float
    default_loss: float
    learned_loss: float


@dataclass(frozen=True)
class LearnedInitialization:
    """What was learned for a network, under which id it is in the store, from which tasks, and
    what those that could not be used are and why. `check` has a task left out each."""

    network: str
    id: str
    architecture: Config
    tasks: tuple[str, ...]
    left_out: Mapping[str, str]
    check: tuple[HeldOutTask, ...]


@dataclass(frozen=True)
class _Best:
    """The best trial of a network on a task."""

    study: Study
    trial: Trial

    def record(self) -> dict[str, Any]:
        """What is kept of it with what was learned."""
        task = self.study.task
        return {
            "task": task.name,
            "data_hash": task.data_hash,
            "study": self.study.name,
            "trial": self.trial.number,
            "epochs": self.study.training["epochs"],
        }


def learn_initializations(
    store: ExperienceStore,
    space: SearchSpace,
    method: Method = "fomaml",
    *,
    rounds: int = ROUNDS,
    updates: int = UPDATES,
    seed: int = 0,
    check: bool = True,
    progress: Progress = lambda what, done, of: None,
) -> list[LearnedInitialization]:
    """Learn initial weights for each network of `space` and keep them in the store.

    They are learned on every task of the store that the network was trained on by a search and
    whose data can be loaded again, each with the best configuration found there but for the
    architecture. That is the one of these with the largest trunk: smaller networks take slices of
    it. With `check` each task is left out in turn. Raises SpaceError for a space without networks,
    InputError where there are not two such tasks.
    """
    parameter = space.parameters.get("network")
    choices = parameter.choices if isinstance(parameter, Categorical) else ()
    networks = [str(name) for name in choices if not is_own(name)]
    if not networks:
        raise SpaceError("the search space has no [network] with choices of built-in networks")
    learn = _Learning(method, rounds, updates, seed)
    return [_learned(store, network, learn, check, progress) for network in networks]


def _learned(
    store: ExperienceStore, network: str, learn: _Learning, check: bool, progress: Progress
) -> LearnedInitialization:
    """The same for one network."""
    found = _best(store, network)
    tasks, left_out = _tasks(found)
    if len(tasks) < 2:
        why = "".join(f"; {name}: {reason}" for name, reason in left_out.items())
        raise InputError(
            f"the store {store.uri} has {len(tasks)} tasks that {network!r} was trained on and "
            f"whose data can be loaded again, and an initialization is learned from at least "
            f"two; run searches first{why}"
        )
    architecture = _largest(tasks)
    tasks = {name: _with(task, architecture) for name, task in tasks.items()}
    weights = learn(list(tasks.values()), _counting(progress, network, learn.rounds))
    record = {
        "network": network,
        "architecture": architecture,
        **asdict(learn),
        "tasks": [best.record() for best in found if best.study.task.name in tasks],
        "versions": {name: version(name) for name in ("metatune", "torch", "numpy")},
    }
    name = put_initialization(store, record, weights)
    checked = _check(tasks, learn, progress) if check else ()
    return LearnedInitialization(network, name, architecture, tuple(tasks), left_out, checked)


def _best(store: ExperienceStore, network: str) -> list[_Best]:
    """Of each data set in the store the best trial that trained the network, by task."""
    best: dict[str, _Best] = {}
    values: dict[str, float] = {}
    for study in store.studies():
        if "data" not in study.training or study.task.metric != "validation_loss":
            continue
        trials = store.trials(study=study.name, states=[TrialState.COMPLETE])
        for trial in trials:
            key, value = study.task.data_hash, trial.value
            known = values.get(key, math.inf)
            if trial.config.get("network") != network or own_names(trial.config):
                continue
            if value is not None and value < known:
                best[key], values[key] = _Best(study, trial), value
    return sorted(best.values(), key=lambda one: (one.study.task.name, one.study.task.data_hash))


def _tasks(found: Sequence[_Best]) -> tuple[dict[str, MetaTask], dict[str, str]]:
    """What can be trained on again, by the names of tasks, and why the rest cannot."""
    tasks, left_out = {}, {}
    for best in found:
        training, name = best.study.training, best.study.task.name
        try:
            dataset = load(
                training["data"], training.get("target"), split_seed=training["split_seed"]
            )
        except MetatuneError as error:
            left_out[name] = str(error)
            continue
        if dataset.data_hash != best.study.task.data_hash:
            left_out[name] = f"the data {training['data']!r} is no longer the same"
            continue
        learned = Learned.of(training)
        tasks[name] = MetaTask(dataset, best.trial.config, training["epochs"], learned)
    return tasks, left_out


def _architecture(task: MetaTask) -> Config:
    """What of a configuration says which network is built, but for what members of a population may
    differ in."""
    settings = Settings(task.config)
    build(settings, task.dataset.shape, task.dataset.outputs)
    return {k: task.config[k] for k in settings.names_read if k not in PER_MEMBER}


def _largest(tasks: Mapping[str, MetaTask]) -> Config:
    """The architecture with most weights in its trunk, the first of equals."""
    return max(map(_architecture, tasks.values()), key=lambda one: _trunk(one, tasks))


def _trunk(architecture: Config, tasks: Mapping[str, MetaTask]) -> int:
    dataset = next(iter(tasks.values())).dataset
    config: dict[str, Value] = {"dropout": 0.0, **architecture}
    network = build(Settings(config), dataset.shape, dataset.outputs)
    weights = weights_by_place(network)
    return sum(tensor.numel() for name, tensor in weights.items() if not is_of_task(name))


def _with(task: MetaTask, architecture: Config) -> MetaTask:
    own = _architecture(task)
    rest = {name: value for name, value in task.config.items() if name not in own}
    return replace(task, config={**rest, **architecture})


@dataclass(frozen=True)
class _Learning:
    method: Method
    rounds: int
    updates: int
    seed: int

    def __call__(self, tasks: Sequence[MetaTask], told: Callable[[int], None]) -> Tensors:
        return learn_initialization(tasks, self.method, self.rounds, self.updates, self.seed, told)


def _counting(progress: Progress, what: str, rounds: int) -> Callable[[int], None]:
    return lambda done: progress(f"initialization of {what}", done, rounds)


def _check(
    tasks: Mapping[str, MetaTask], learn: _Learning, progress: Progress
) -> tuple[HeldOutTask, ...]:
    results = []
    for done, (name, task) in enumerate(tasks.items()):
        progress("tasks left out", done, len(tasks))
        others = [other for key, other in tasks.items() if key != name]
        weights = learn(others, lambda _: None)
        results.append(compare(name, task, weights, learn.seed))
    progress("tasks left out", len(tasks), len(tasks))
    return tuple(results)


def compare(
    name: str, task: MetaTask, weights: Mapping[str, torch.Tensor], seed: int = 0
) -> HeldOutTask:
    """What `weights` that were learned without a task are worth on it, over a few seeds."""
    curves = []
    for index in range(_CHECK_SEEDS):
        own = derive_seed(seed, _CHECKING, index)
        curves.append((_curve(task, own, None), _curve(task, own, weights)))
    reached = [(epochs_to(min(d), d), epochs_to(min(d), learned)) for d, learned in curves]
    return HeldOutTask(
        name,
        median(default for default, _ in reached),
        median(learned for _, learned in reached),
        median(min(default) for default, _ in curves),
        median(min(learned) for _, learned in curves),
    )


def _curve(task: MetaTask, seed: int, weights: Mapping[str, torch.Tensor] | None) -> list[float]:
    losses = [scores["validation_loss"] for scores in task.training(seed, weights).fit()]
    return [loss if math.isfinite(loss) else math.inf for loss in losses]


def epochs_to(loss: float, curve: Sequence[float]) -> float:
    """After how many epochs a curve is as low as `loss`; infinite if it never is."""
    return next((epoch for epoch, value in enumerate(curve, 1) if value <= loss), math.inf)
