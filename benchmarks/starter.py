"""Is the first search of a new user better for what comes with metatune?

Each real data set that starter tasks are derived from is searched as by a new user, with the
starter experience but for all tasks of that source, and without memory: best of the first 5 trials,
5 seeds. A cell is (left-out set, seed); every cell is printed, losses included. The same for the
generated sources, apart, and for `cnn` on digits, where only generated images are left.

It is about proposals, so trials are trained one after another in this process, each to its end
(27 epochs), with the coordinator, optimizers and seeds of a search but without Ray Tune and without
pruning. Without memory is what `--no-memory` proposes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

from results import Row, arguments, finish
from rich.console import Console
from rich.progress import track
from rich.table import Table

from metatune.experience.starter import (
    source_of,
    starter_experience,
    starter_sample,
    starter_store,
)
from metatune.networks.data.reading import SCIKIT_LEARN
from metatune.optimizers.auto import ByCost
from metatune.optimizers.past_surrogate import MOST_TRIALS
from metatune.optimizers.transfer import Transfer
from metatune.optimizers.transfer_model import TransferModel, fit
from metatune.orchestration.learning import FIT_SEED
from metatune.orchestration.problem import Problem, dataset_problem
from metatune.starter.generated import GENERATED
from metatune.starter.making import run
from metatune.starter.tasks import StarterTask
from metatune.study import Study
from metatune.trial import Trial

FIRST = 5
SEEDS = range(5)
QUICK_SEEDS = range(1)
PEER = "without memory"
Case = tuple[str, str]  # space and left-out source
Cell = tuple[float, float]  # best with and best without


def problem_of(space: str, source: str) -> Problem:
    """What a new user searches: the whole data set."""
    return dataset_problem(space, StarterTask(source, "all", "").dataset(), source)


def model_without(space: str, source: str) -> TransferModel | None:
    """What is learned from the starter experience without all that is derived from `source`."""
    searched = problem_of(space, source).space
    store = starter_store()
    own = {study.name for study in store.studies() if source_of(study) == source}
    known = {name: count for name, count in starter_experience(searched).items() if name not in own}
    return fit(starter_sample(store, known, searched, MOST_TRIALS), searched, FIT_SEED)


def cells(case: Case, seeds: range) -> list[Cell]:
    """The best of the first trials, with and without what was learned from others."""
    space, source = case
    problem, model = problem_of(space, source), model_without(space, source)
    if model is None or problem.dataset is None:
        raise SystemExit(f"{space} on {source}: nothing is left to learn from")
    found = []
    for seed in seeds:
        study = Study(
            f"{source}-{seed}", replace(problem.task, name=source), problem.space, seed, FIRST,
            training=problem.training,
        )  # fmt: skip
        remembered = run(study, Transfer(model), problem.dataset)
        fresh = run(study, ByCost(), problem.dataset)
        found.append((_best(remembered), _best(fresh)))
    return found


def _best(trials: list[Trial]) -> float:
    return min((t.value for t in trials if t.value is not None), default=float("inf"))


def main() -> None:
    """Print every cell, the medians and the harm."""
    options = arguments(__doc__)
    seeds = QUICK_SEEDS if options.quick else SEEDS
    cases: list[Case] = [("mlp", source) for source in SCIKIT_LEARN]
    if not options.quick:
        cases += [("mlp", source) for source in GENERATED]
        cases += [("cnn", "digits")]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = {case: pool.submit(cells, case, seeds) for case in cases}
        done = {case: run.result() for case, run in track(runs.items(), "left-out sets")}
    table = Table("space", "left out", "seed", "with", "without", "ratio", title=f"best of {FIRST}")
    for (space, source), of_case in done.items():
        for seed, (a, b) in zip(seeds, of_case, strict=True):
            table.add_row(space, source, str(seed), f"{a:.4f}", f"{b:.4f}", f"{a / b:.3f}")
    Console().print(table)
    finish(_rows(done), f"first {FIRST} trials, {len(seeds)} seeds", options.json)


def _rows(done: Mapping[Case, list[Cell]]) -> list[Row]:
    real = [
        cell for (space, source), of in done.items() if _is_barred(space, source) for cell in of
    ]
    generated = [cell for (_, source), of in done.items() if source in GENERATED for cell in of]
    rows = _summary("all left-out real sets", real)
    if generated:
        rows += _summary("all left-out generators", generated)
    for (space, source), of_case in done.items():
        best, peer = (statistics.median(values) for values in zip(*of_case, strict=True))
        rows.append(
            Row(f"{space}, {source} left out", "median_best_validation_loss", best, PEER, peer)
        )
    return rows


def _is_barred(space: str, source: str) -> bool:
    return space == "mlp" and source in SCIKIT_LEARN


def _summary(name: str, of: list[Cell]) -> list[Row]:
    """Losses of different sets have different scales: the ratio to the peer of each cell does not
    depend on them."""
    best, peer = (statistics.median(values) for values in zip(*of, strict=True))
    won, lost = (sum(x) / len(of) for x in zip(*((a < b, b < a) for a, b in of), strict=True))
    return [
        Row(name, "median_best_validation_loss", best, PEER, peer),
        Row(name, "median_ratio_of_best_loss", statistics.median(a / b for a, b in of), PEER, 1.0),
        Row(name, "share_of_cells_lost", lost, f"{PEER}: lost", won),
    ]


if __name__ == "__main__":
    main()
