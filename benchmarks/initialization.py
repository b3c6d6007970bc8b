"""What are initial weights worth that were learned on other tasks, and other choices of beginnings?

The first part trains one architecture on six real data sets from the default initialization, and
from others: Kaiming's, LSUV, GradInit, and what Reptile and first-order MAML learned on the five
other data sets. The recipe is the same for all but for the learning rate, which is once the one of
a grid that gives the default initialization the best loss after the last epoch, and once that of
`torch.optim.Adam` without more words. Counted are the
epochs until the validation loss is as low as the default's is from the same seed after its last
epoch, and until it is as low as the default's ever is; what never gets there counts as twice the
epochs.

The second part is about settings of a search space: the same number of random trials in the space
`mlp`, in that with more architectures, and in that where trials inherit the weights of the best one
before them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from results import Row, finish
from rich.progress import track

from metatune.networks.checkpoints import Tensors
from metatune.networks.data.loading import Dataset, load
from metatune.networks.inheritance import weights_by_place
from metatune.networks.losses import losses_for
from metatune.networks.meta_initialization import (
    ROUNDS,
    MetaTask,
    Method,
    learn_initialization,
)
from metatune.networks.training import Training
from metatune.parameters import Value
from metatune.space import SearchSpace
from metatune.trial import derive_seed

TASKS = ("iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud")
EPOCHS = 27
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
USUAL_RATE = 1e-3  # the default of torch.optim.Adam
TUNING_SEEDS = range(1000, 1003)
PLAIN = ("kaiming", "lsuv", "gradinit")
METHODS: tuple[Method, ...] = ("reptile", "fomaml")
NEVER = 2 * EPOCHS
RECIPE: Mapping[str, Value] = {
    "network": "mlp",
    "depth": 3,
    "width": 64,
    "activation": "relu",
    "normalization": "none",
    "dropout": 0.0,
    "optimizer": "adam",
    "beta1": 0.9,
    "beta2": 0.999,
    "weight_decay": 0.0,
    "gradient_clipping": False,
    "schedule": "cosine",
    "final_fraction": 0.02,
    "batch_size": 32,
}
Curve = list[float]


@cache
def _dataset(name: str) -> Dataset:
    return load(name)


def _config(name: str, rate: float, initializer: str = "default") -> dict[str, Value]:
    is_classes = _dataset(name).kind == "classification"
    loss: dict[str, Value] = {"loss": "mse"}
    if is_classes:
        loss = {"loss": "cross_entropy", "label_smoothing": 0.0}
    gain = {} if initializer in ("default", "gradinit") else {"initializer_gain": 1.0}
    return {**RECIPE, **loss, **gain, "initializer": initializer, "learning_rate": rate}


def _curve(training: Training) -> Curve:
    losses = [scores["validation_loss"] for scores in training.fit()]
    return [loss if math.isfinite(loss) else math.inf for loss in losses]


@cache
def _rate(name: str) -> float:
    """The learning rate with the best last loss from the default initialization, over seeds of its
    own."""
    found = {}
    for rate in RATES:
        config = _config(name, rate)
        runs = [Training(config, _dataset(name), seed, EPOCHS) for seed in TUNING_SEEDS]
        found[rate] = median(_curve(training)[-1] for training in runs)
    return min(found, key=found.__getitem__)


def _task(name: str, rate: float | None) -> MetaTask:
    return MetaTask(_dataset(name), _config(name, rate or _rate(name)), EPOCHS)


def _epochs_to(loss: float, curve: Curve) -> int:
    return next((epoch for epoch, value in enumerate(curve, 1) if value <= loss), NEVER)


def speeds(
    name: str, rate: float | None, among: Sequence[str], seeds: Sequence[int], rounds: int
) -> dict[str, list[tuple[int, int, float, float]]]:
    """By initialization, for each seed: epochs to the default's last loss and to its best one, its
    best loss, and the share of its epochs that the default took to its own best."""
    others = [_task(other, rate) for other in among if other != name]
    weights: dict[str, Tensors] = {m: learn_initialization(others, m, rounds) for m in METHODS}
    task = _task(name, rate)
    found: dict[str, list[tuple[int, int, float, float]]] = {}
    for seed in seeds:
        curves = {"default": _curve(task.training(seed))}
        for initializer in PLAIN:
            config = _config(name, rate or _rate(name), initializer)
            curves[initializer] = _curve(Training(config, _dataset(name), seed, EPOCHS))
        for method, known in weights.items():
            curves[f"learned, {method}"] = _curve(task.training(seed, known))
        last, best = curves["default"][-1], min(curves["default"])
        for what, curve in curves.items():
            own = _epochs_to(best, curve)
            share = own / _epochs_to(best, curves["default"])
            found.setdefault(what, []).append((_epochs_to(last, curve), own, min(curve), share))
    return found


def speed_rows(rate: float | None, quick: bool) -> list[Row]:
    """Epochs, data sets left out one by one, at a rate or the one that suits the default best."""
    tasks, seeds, rounds = (TASKS[:3], range(1), 5) if quick else (TASKS, range(5), ROUNDS)
    at = "best rate" if rate is None else f"rate {rate:g}"
    measure = partial(speeds, rate=rate, among=tasks, seeds=seeds, rounds=rounds)
    found = dict(zip(tasks, _mapped(measure, tasks), strict=True))
    whole = {what: [run for of in found.values() for run in of[what]] for what in found["iris"]}
    rows: list[Row] = []
    for name, of_task in [*found.items(), ("all", whole)]:
        own = median(epochs for _, epochs, _, _ in of_task["default"])
        loss = median(least for _, _, least, _ in of_task["default"])
        for what, runs in of_task.items():
            last, best, least, share = (median(run[i] for run in runs) for i in range(4))
            case = f"{at}, {name}: {what}"
            rows.append(Row(case, "epochs to the default's last loss", last, "all", EPOCHS))
            if name == "all":
                rows.append(Row(case, "share of epochs to the default's best loss", share, "1", 1))
            else:
                rows.append(Row(case, "epochs to the default's best loss", best, "default", own))
                rows.append(Row(case, "best loss", least, "default", loss))
    return rows


def _space(name: str, without: Sequence[str] = ()) -> SearchSpace:
    space = SearchSpace.load(name)
    kept = {k: p for k, p in space.parameters.items() if k not in without}
    return SearchSpace(kept, {k: when for k, when in space.when.items() if k in kept})


def searches(name: str, seeds: Sequence[int], trials: int, epochs: int) -> list[dict[str, Any]]:
    """For each seed the best validation loss of so many random trials, by kind of search, and the
    loss on test rows of that trial."""
    dataset = _dataset(name)
    plain = {"mlp": _space("mlp"), "more architectures": _space("mlp_architectures", ["inherit"])}
    results = []
    for seed in seeds:
        found: dict[str, Any] = {}
        for what, inherits in (*((w, False) for w in plain), ("inheriting", True)):
            space = plain["mlp" if inherits else what].restrict("loss", losses_for(dataset.kind))
            rng = np.random.default_rng([seed, 7])
            best, parent, tested = math.inf, None, math.nan
            for number in range(trials):
                config = {**space.sample(rng), "inherit": "best" if inherits else "none"}
                own = derive_seed(seed, number)
                training = Training(config, dataset, own, epochs, parent=parent)
                least = min(_curve(training))
                if least < best:
                    scores = training.test_scores()
                    best, tested = least, scores.get("test_log_loss", scores.get("test_rmse", 0.0))
                    parent = weights_by_place(training.network)
            found[what] = (best, tested)
        results.append(found)
    return results


def search_rows(quick: bool) -> list[Row]:
    """Random searches."""
    tasks, seeds = (TASKS[:2], range(2)) if quick else (TASKS, range(5))
    trials, epochs = (4, 5) if quick else (16, 9)
    measure = partial(searches, seeds=seeds, trials=trials, epochs=epochs)
    rows, ratios = [], dict[str, list[float]]()
    for name, found in zip(tasks, _mapped(measure, tasks), strict=True):
        for what in ("more architectures", "inheriting"):
            for index, metric in enumerate(("best validation loss", "its test loss")):
                own, peer = (median(one[w][index] for one in found) for w in (what, "mlp"))
                rows.append(Row(f"{name}: {what}", metric, own, "mlp", peer))
                logs = [math.log(one[what][index] / one["mlp"][index]) for one in found]
                ratios.setdefault(f"{what}: {metric}", []).extend(logs)
    for what, logs in ratios.items():
        kind, _, metric = what.partition(": ")
        rows.append(Row(f"all: {kind}", f"ratio of {metric}", math.exp(fmean(logs)), "mlp", 1.0))
    return rows


def _mapped(measured: Callable[[str], Any], tasks: Sequence[str]) -> list[Any]:
    """What is measured on each task, in two processes of one thread."""
    with ProcessPoolExecutor(
        2,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        runs = [pool.submit(measured, task) for task in tasks]
        return [run.result() for run in track(runs, "tasks")]


PARTS: Mapping[str, Callable[[bool], list[Row]]] = {
    "best-rate": partial(speed_rows, None),
    "usual-rate": partial(speed_rows, USUAL_RATE),
    "search": search_rows,
}
_QUICK = ("usual-rate", "search")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all, if not given")
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--merge", type=Path, metavar="FILE", help="put the rows after these")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes started from here
    parts = options.parts or (_QUICK if options.quick else PARTS)
    rows = [row for part in parts for row in PARTS[part](options.quick)]
    if options.merge:
        known = json.loads(options.merge.read_text())["rows"]
        names = {field.name for field in fields(Row)}
        rows = [Row(**{k: v for k, v in row.items() if k in names}) for row in known] + rows
    finish(rows, "initialization", options.json)


if __name__ == "__main__":
    main()
