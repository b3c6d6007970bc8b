"""Studies of networks so small that they are trained in the test itself, without Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metatune import Categorical, ExperienceStore, Float, SearchSpace, Study, Task, Trial
from metatune.networks.data.loading import load
from metatune.networks.training import Training
from metatune.parameters import Value
from metatune.space import Config
from metatune.trial import Report, Suggestion, TrialState

EPOCHS = 3
_UPDATE: Config = {
    "optimizer": "adamw", "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.99,
    "weight_decay": 1e-3, "gradient_clipping": True, "gradient_norm": 1.0,
    "schedule": "cosine", "final_fraction": 0.1, "batch_size": 32,
    "loss": "cross_entropy", "label_smoothing": 0.1,
}  # fmt: skip
MLP: Config = {
    "network": "mlp", "depth": 1, "width": 8, "activation": "gelu", "normalization": "batch",
    "dropout": 0.1, "initializer": "kaiming", "initializer_gain": 1.0, **_UPDATE,
}  # fmt: skip
CNN: Config = {
    "network": "cnn", "blocks": 1, "channels": 2, "kernel": 3, "activation": "relu",
    "normalization": "layer", "pooling": "average", "readout": "flatten", "dropout": 0.1,
    "initializer": "lsuv", "initializer_gain": 1.0, **_UPDATE,
}  # fmt: skip
RESNET: Config = {
    "network": "resnet", "stages": 2, "blocks": 1, "channels": 2, "activation": "silu",
    "normalization": "group", "dropout": 0.1, "initializer": "orthogonal", "initializer_gain": 1.0,
    **_UPDATE,
}  # fmt: skip
TRANSFORMER: Config = {
    "network": "transformer", "depth": 1, "width": 4, "heads": 2, "feedforward": 1, "patch": 4,
    "activation": "relu", "normalization": "pre", "readout": "token", "dropout": 0.1,
    "initializer": "default", **_UPDATE,
}  # fmt: skip
SGD: Config = {
    **{k: v for k, v in MLP.items() if k not in ("beta1", "beta2", "final_fraction")},
    "activation": "tanh", "normalization": "none", "initializer": "xavier",
    "optimizer": "sgd", "momentum": 0.9, "nesterov": True,
    "schedule": "step", "step_factor": 0.5, "step_count": 2,
}  # fmt: skip


def regression(config: Config) -> Config:
    """The same with a loss for numbers."""
    kept = {k: v for k, v in config.items() if k not in ("loss", "label_smoothing")}
    return {**kept, "loss": "huber", "huber_delta": 1.0}


def space_of(configs: Sequence[Config]) -> SearchSpace:
    """Each parameter with the values that it has in the configurations, as choices."""
    names = list(dict.fromkeys(name for config in configs for name in config))
    parameters: dict[str, Any] = {}
    for name in names:
        found = {repr(c[name]): c[name] for c in configs if name in c}
        parameters[name] = Categorical(tuple(found.values()))
    return SearchSpace(parameters)


def trained(
    configs: Sequence[Config],
    data: str = "iris",
    target: str | None = None,
    training: Mapping[str, Value] | None = None,
    metric: str | None = None,
) -> tuple[Study, list[Trial]]:
    """A study of configurations of built-in networks, each trained here."""
    dataset = load(data, target, metric=metric)
    known: dict[str, Any] = {
        "data": data, "target": target, "epochs": EPOCHS, "threads": 1,
        "split_seed": dataset.split_seed, "dtype": "float32", "engine": "plain",
    }  # fmt: skip
    known |= training or {}
    task = dataset.task()
    study = Study(
        "small", task, space_of(configs), seed=5, training=known, versions={"metatune": "0"}
    )
    trials = []
    for number, config in enumerate(configs):
        values = [s[task.metric] for s in Training(config, dataset, number, EPOCHS).fit()]
        curve = tuple(Report(n, value, n / 10) for n, value in enumerate(values, 1))
        trials.append(
            Trial(
                "small", number, Suggestion(config, "random"), number, TrialState.COMPLETE, curve,
                task.value(curve), number, cost=EPOCHS / 10, training=known,
            )
        )  # fmt: skip
    return study, trials


def told(states: Sequence[TrialState]) -> tuple[Study, list[Trial]]:
    """A study of a trainable of the user's, with a trial in each of the states."""
    space = SearchSpace(
        {
            "rate": Float(1e-5, 1.0, log=True),
            "kind": Categorical(("a", "b", None)),
            "mixed": Categorical((True, 1, 1.0, "1")),
            "only_a": Float(0.0, 1.0),
        },
        {"only_a": {"kind": ("a",)}},
    )
    task = Task("shop", "accuracy", "maximize")
    study = Study("shop-0", task, space, training={"trainable": "train_shop"})
    trials = []
    for number, state in enumerate(states):
        config: Config = {"rate": 0.1 / (number + 1), "kind": "b", "mixed": (1, "1")[number % 2]}
        if number % 3 == 0:
            config |= {"kind": "a", "only_a": 0.5}
        last = math.nan if state is TrialState.FAILED else 0.5 + number / 1000
        trials.append(
            Trial(
                "shop-0",
                number,
                Suggestion(config, "transfer", {"past": 0.75}, -0.6, 0.01),
                number,
                state,
                (Report(1, 0.25, 1.0), Report(2, last, 2.0)),
                0.5 + number / 1000,
                number if state.finished else None,
                cost=2.0,
                error="ValueError: no" if state is TrialState.FAILED else None,
                training={"trainable": "train_shop"},
            )
        )
    return study, trials


def stored(folder: Any, study: Study, trials: Sequence[Trial]) -> None:
    """Put a study into a store."""
    store = ExperienceStore(folder)
    store.put_study(study)
    store.append(trials)
