"""Training an exported configuration of a built-in network again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from metatune.errors import ConfigurationError, DataError, TaskError
from metatune.export.documents import document
from metatune.networks.checkpoints import Tensors
from metatune.networks.data.dataset import Dataset
from metatune.networks.data.loading import load
from metatune.networks.lineage import LINEAGE, LineageTraining, segments_of, training_along
from metatune.networks.own_code import own_names
from metatune.networks.training import Training
from metatune.orchestration.initial_weights import InitialWeights
from metatune.study import Study
from metatune.task import Direction
from metatune.trial import Trial

EachEpoch = Callable[[], object]  # told after each epoch


@dataclass(frozen=True)
class Retrained:
    """What training an exported configuration again gave: `value` beside the `recorded` one, both
    over the epochs that were recorded, the scores on the test split, and the `weights` of the best
    epoch, by name."""

    recorded: float
    value: float
    test: dict[str, float]
    weights: Tensors = field(repr=False)

    @property
    def verdict(self) -> str:
        """Whether the values agree, in words."""
        same = self.value == self.recorded
        return "the same" if same else f"off by {self.value - self.recorded:.3g}"


def train(
    exported: dict[str, Any],
    source: str = "export",
    each_epoch: EachEpoch | None = None,
    own_code: bool = False,
) -> Retrained:
    """Train an exported configuration of a built-in network again.

    `exported` is what `documents.read` gave; functions that it names are imported only with
    `own_code`. Raises InputError naming `source` if the
    configuration is a trainable's of the user's or does not fit, or the data is no longer the same.
    """
    dataset = dataset_of(exported, source)
    seed = exported["training"]["seed"]
    training = training_of(exported, dataset, seed, source, own_code)
    values = scores(training, dataset.task().metric, training.epochs, each_epoch)
    value = best_of(values[: exported["result"]["steps"]], exported["task"]["direction"])
    recorded = exported["result"]["value"]
    return Retrained(recorded, value, training.test_scores(), training.best_weights)


def dataset_of(exported: dict[str, Any], source: str) -> Dataset:
    """The data that an exported configuration was trained on; raises InputError as `train`."""
    training, task = exported["training"], exported["task"]
    check_built_in(training, source)
    data, target, split = training["data"], training.get("target"), training["split_seed"]
    try:
        dataset = load(data, target, split_seed=split, metric=task["metric"])
    except TaskError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    found = dataset.task()
    if found.data_hash != task["data_hash"]:
        raise DataError(
            f"{source}: data {training['data']!r} is no longer what the study "
            f"{exported['study']['name']!r} was searched on; search again"
        )
    for key in ("metric", "direction", "measure"):
        if task[key] != (right := getattr(found, key)):
            raise ConfigurationError(f"{source}: [task] {key} = {task[key]!r} must be {right!r}")
    return dataset


def check_built_in(training: dict[str, Any], source: str) -> None:
    """Raise ConfigurationError naming `source` unless a built-in network was trained."""
    if "data" in training:
        return
    name = training.get("trainable")
    of = f"of the trainable {name!r}" if name else "that came from elsewhere"
    raise ConfigurationError(
        f"{source}: a trial {of}; only built-in networks are trained here: export it as toml, json "
        f"or yaml, and give [configuration] to what trained it"
    )


def _check_own_code(exported: dict[str, Any]) -> None:
    """Raise ConfigurationError naming the functions of somebody's that would be imported."""
    lineage = exported["training"].get(LINEAGE)
    configs = [exported["configuration"]]
    configs += [dict(one.config) for one in segments_of(lineage)] if lineage is not None else []
    if names := sorted({name for config in configs for name in own_names(config)}):
        raise ConfigurationError(
            f"[configuration] names the functions {names}, which are not imported unasked; "
            f"`metatune train FILE --own-code` does so and trains it"
        )


def training_of(
    exported: dict[str, Any], dataset: Dataset, seed: int, source: str, own_code: bool = False
) -> Training | LineageTraining:
    """The training of an exported configuration, not begun, from a seed that may be another than
    the recorded one. Functions that it names are imported only with `own_code`. Raises
    ConfigurationError naming `source` if it does not fit."""
    training = exported["training"]
    weights = InitialWeights(training.get("store", ""))
    try:
        if not own_code:
            _check_own_code(exported)
        return training_along(
            training.get(LINEAGE),
            exported["configuration"],
            dataset,
            seed=seed,
            epochs=training["epochs"],
            threads=training["threads"],
            learned=weights.learned(training),
            parent=weights.parent(training),
            new_seed=seed != training["seed"],
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None


def train_alone(
    study: Study, trial: Trial, each_epoch: EachEpoch | None = None, store: str = ""
) -> Trial:
    """The trial with the value that it has when trained by itself, as `alone` in its training,
    where it was a member of a population and that is not known yet; `store` as in `document`."""
    if trial.training.get("engine") != "fused" or trial.training.get("alone") is not None:
        return trial
    exported, source = document(study, trial, store=store), f"study {study.name!r}"
    training = training_of(exported, dataset_of(exported, source), trial.seed, source)
    values = scores(training, study.task.metric, trial.step, each_epoch)
    value = best_of(values, study.task.direction)
    alone = value if math.isfinite(value) else None
    return replace(trial, training={**trial.training, "alone": alone})


def scores(
    training: Training | LineageTraining,
    metric: str,
    epochs: int,
    each_epoch: EachEpoch | None = None,
) -> list[float]:
    """Train so many epochs; what `metric` was after each."""
    values = []
    for _ in range(epochs):
        values.append(training.step()[metric])
        if each_epoch is not None:
            each_epoch()
    return values


def best_of(values: list[float], direction: Direction) -> float:
    """The lowest finite value, or the highest; NaN where none is finite."""
    best = max if direction == "maximize" else min
    return best((value for value in values if math.isfinite(value)), default=math.nan)
