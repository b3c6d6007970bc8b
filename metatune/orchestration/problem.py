"""What a search is about: a space, a task, and what trains."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray import tune

from metatune.errors import SpaceError, StudyError, TaskError, TrainableError
from metatune.networks.architectures.building import networks_for
from metatune.networks.data.loading import Dataset, load
from metatune.networks.data.reading import BUILT_IN
from metatune.networks.data.tokens import TokenShape
from metatune.networks.lineage import LINEAGE, segments_of
from metatune.networks.losses import fitting_losses
from metatune.networks.own_code import OWN_CODE, imported, is_own, own_names
from metatune.parameters import Categorical, Value
from metatune.space import SearchSpace
from metatune.task import Task
from metatune.trial import Trial

DEFAULT_EPOCHS = 27


@dataclass(frozen=True)
class Problem:
    """A space searched on a task by training something.

    `trainable` is the user's own, or None for the built-in networks, which train on `dataset`.
    `training` is what exact re-training of a trial needs beside its configuration and seed.
    """

    space: SearchSpace
    space_name: str
    task: Task
    trainable: Any = None
    dataset: Dataset | None = None
    max_steps: int | None = None
    training: dict[str, Any] = field(default_factory=dict)


def own_problem(
    space: SearchSpace | str | Path,
    task: Task | str,
    trainable: Any = None,
    max_steps: int | None = None,
) -> Problem:
    """The problem of a trainable of the user's; a bare task name is measured by its `loss`.

    Raises TrainableError for what Ray Tune cannot run; None stands for one that is not known.
    """
    if trainable is not None:
        _check_trainable(trainable)
    name = getattr(trainable, "__qualname__", None) or type(trainable).__qualname__
    return Problem(
        space=_space(space),
        space_name=_space_name(space),
        task=task if isinstance(task, Task) else Task(task),
        trainable=trainable,
        max_steps=max_steps,
        training={"trainable": name, "max_steps": max_steps},
    )


def network_problem(
    space: SearchSpace | str | Path,
    task: Task | str,
    max_steps: int | None = None,
    target: str | None = None,
    threads: int = 1,
    metric: str | None = None,
) -> Problem:
    """The problem of training the built-in network that the space names on a data set, measured by
    `metric` if not by its validation loss (see `task_metric`).

    The choices of `network` and `loss` are narrowed to those that fit the data.
    """
    if isinstance(task, Task):
        raise TaskError(
            f"task {task.name!r}: the built-in networks take the name of a data set or a file; "
            f"a Task of your own goes with a trainable of your own"
        )
    dataset = load(task, target, metric=metric)
    data = task if task in BUILT_IN else str(Path(task).expanduser().resolve())
    return dataset_problem(space, dataset, data, max_steps, target, threads)


def dataset_problem(
    space: SearchSpace | str | Path,
    dataset: Dataset,
    data: str,
    max_steps: int | None = None,
    target: str | None = None,
    threads: int = 1,
) -> Problem:
    """The same for a data set that was loaded; `data` and `target` say from what."""
    searched = _space(space)
    if "network" not in searched.parameters:
        raise SpaceError(
            f"search space {_space_name(space)!r} has no parameter 'network', so it is not for "
            f"the built-in networks; add one, or give the trainable that it is for"
        )
    searched = searched.restrict("network", _networks_for(dataset, searched))
    _check_own_code(searched)
    losses = searched.parameters.get("loss")
    if isinstance(losses, Categorical):
        searched = searched.restrict("loss", fitting_losses(losses.choices, dataset.kind))
    patch = searched.parameters.get("patch")
    if isinstance(patch, Categorical) and not _has_patches(dataset):
        searched = searched.restrict("patch", patch.choices[:1])
    epochs = DEFAULT_EPOCHS if max_steps is None else max_steps
    return Problem(
        space=searched,
        space_name=_space_name(space),
        task=dataset.task(),
        dataset=dataset,
        max_steps=epochs,
        training={
            "data": data,
            "target": target,
            "epochs": epochs,
            "threads": threads,
            "split_seed": dataset.split_seed,
            "dtype": "float32",
            "engine": "plain",
        },
    )


def check_own_code(problem: Problem, trials: Sequence[Trial]) -> None:
    """Raise StudyError for a recorded trial that names a function of the user's which its space
    does not: nothing is imported because a store says so."""
    choices = [p.choices for p in problem.space.parameters.values() if isinstance(p, Categorical)]
    known = {value for values in choices for value in values}
    for trial in trials if problem.dataset is not None else ():
        lineage = trial.training.get(LINEAGE)
        segments = segments_of(lineage) if lineage is not None else []
        for config in (trial.config, *(segment.config for segment in segments)):
            for name in own_names(config):
                if name not in known:
                    raise StudyError(
                        f"trial {trial.id} names the function {name!r}, which is no choice of its "
                        f"search space; give a new study another name with --study"
                    )


def _check_own_code(space: SearchSpace) -> None:
    """Raise SpaceError for a function of the user's that is not there, before anything runs."""
    for name, parameter in space.parameters.items():
        for value in parameter.choices if isinstance(parameter, Categorical) else ():
            if name in OWN_CODE and is_own(value):
                try:
                    imported(str(value))
                except TrainableError as error:
                    raise SpaceError(f"[{name}] choices: {error}") from error


def fused(problem: Problem, size: int, gpus: float) -> Problem:
    """The problem with `size` networks trained as one program, on a GPU if they are given any;
    unchanged where the size is 1."""
    if size == 1:
        return problem
    training = {**problem.training, "engine": "fused", "population": size}
    return replace(problem, training=training | ({"device": "cuda"} if gpus else {}))


def import_trainable(name: str) -> Any:
    """What `package.module:name` names; TrainableError says what is missing."""
    try:
        return imported(name)
    except TrainableError as error:
        raise TrainableError(f"trainable {error}") from error


def _check_trainable(trainable: Any) -> None:
    kind = type(trainable).__name__
    name = f"{getattr(trainable, '__module__', kind)}:{getattr(trainable, '__qualname__', kind)}"
    if isinstance(trainable, type):
        if not issubclass(trainable, tune.Trainable):
            raise TrainableError(f"trainable {name!r} is a class, but none of ray.tune.Trainable")
        return
    if not callable(trainable):
        raise TrainableError(
            f"trainable {trainable!r} is {kind}, not a function or a Trainable class"
        )
    try:
        inspect.signature(trainable).bind({})
    except (TypeError, ValueError):
        raise TrainableError(
            f"trainable {name!r} must take the configuration as its one argument"
        ) from None
    if not hasattr(trainable, "__dict__"):  # Ray could not attach the resources it needs
        raise TrainableError(f"trainable {name!r} is built in; wrap it in a function of your own")


def _networks_for(dataset: Dataset, space: SearchSpace) -> Sequence[Value]:
    """Those choices of `network` that can take the data."""
    parameter = space.parameters["network"]
    choices = parameter.choices if isinstance(parameter, Categorical) else ()
    known = networks_for(dataset.shape, dataset.kind)
    fitting = [name for name in choices if is_own(name) or name in known]
    if choices and not fitting:
        what = "documents" if isinstance(dataset.shape, TokenShape) else "inputs"
        raise SpaceError(
            f"[network] choices = {list(choices)}: none is for {dataset.name!r}, a "
            f"{dataset.kind} of {what} of shape {dataset.shape}; these are: {', '.join(known)}"
        )
    return fitting


def _has_patches(dataset: Dataset) -> bool:
    return len(dataset.shape) > 1  # images and signals


def _space(space: SearchSpace | str | Path) -> SearchSpace:
    return space if isinstance(space, SearchSpace) else SearchSpace.load(space)


def _space_name(space: SearchSpace | str | Path) -> str:
    return f"space{space.id}" if isinstance(space, SearchSpace) else Path(space).stem
