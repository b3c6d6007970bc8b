"""`metatune search` and `metatune suggest`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from metatune.cli import printing
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.cli.resourcing import (
    AcceleratorOption,
    ConcurrencyOption,
    CostBudgetOption,
    CpusOption,
    CustomOption,
    GpusOption,
    LabelsOption,
    MaxFailuresOption,
    PlacementOption,
    RamOption,
    TimeBudgetOption,
    WorkerResourcesOption,
    WorkersOption,
    resources_of,
)
from metatune.errors import InputError
from metatune.experience.store import ExperienceStore
from metatune.orchestration.fitting import Placement
from metatune.space import config_text
from metatune.task import Direction, Measure, Task

# How many of the past tasks that spoke are named.
_NAMED = 5


class OptimizerName(StrEnum):
    """Optimizers by name."""

    AUTO = "auto"
    RANDOM = "random"
    TPE = "tpe"
    GP = "gp"
    CMAES = "cmaes"
    PORTFOLIO = "portfolio"
    TRANSFER = "transfer"
    META_RANDOM = "meta-random"
    SURROGATE_GP = "surrogate-gp"
    SURROGATE_FOREST = "surrogate-forest"
    SURROGATE_SVR = "surrogate-svr"
    SURROGATE_NETWORK = "surrogate-network"


class PrunerName(StrEnum):
    """Pruners by name."""

    ASHA = "asha"
    NONE = "none"


SpaceArgument = Annotated[
    str,
    typer.Argument(
        help="Search space: a TOML file, or a shipped one: mlp, cnn, resnet, transformer, "
        "logistic, text, signal."
    ),
]
TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        help="Built-in data set (iris, wine, breast_cancer, digits, diabetes, linnerud, "
        "digits_sequence, docstrings), data file (CSV, Parquet, NPZ), folder of CIFAR's binary "
        "files, or a name with --trainable.",
    ),
]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="Column or array to predict in a data file.")
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="What is measured, by default loss: a key of what a --trainable reports; for built-in "
        "networks accuracy, precision, recall, f1, recall_at_precision:0.9, "
        "precision_at_recall:0.8 (for another class than the second of two with :CLASS behind it) "
        "or rmse.",
    ),
]
OptimizerOption = Annotated[OptimizerName, typer.Option("--optimizer", help="What proposes.")]
StarterOption = Annotated[
    bool,
    typer.Option(help="For built-in networks, also start from the experience that comes along."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Everything random follows from it.")
]


def search(
    context: typer.Context,
    space: SpaceArgument,
    task: TaskOption,
    trials: Annotated[int, typer.Option(min=1, help="Trials in the end, over all runs.")] = 20,
    study: Annotated[str | None, typer.Option(help="Name; by default space-task-seed.")] = None,
    trainable: Annotated[
        str | None, typer.Option(help="Your own Ray Tune trainable, package.module:name.")
    ] = None,
    metric: MetricOption = None,
    direction: Annotated[
        Direction | None, typer.Option(help="Of the metric; by default minimize.")
    ] = None,
    measure: Annotated[
        Measure | None, typer.Option(help="Which report counts; by default last.")
    ] = None,
    target: TargetOption = None,
    optimizer: OptimizerOption = OptimizerName.AUTO,
    pruner: Annotated[
        PrunerName, typer.Option(help="Stops trials early; asha needs their length.")
    ] = PrunerName.ASHA,
    memory: Annotated[bool, typer.Option(help="Start from what earlier searches learned.")] = True,
    starter: StarterOption = True,
    max_steps: Annotated[
        int | None,
        typer.Option("--max-steps", "--epochs", min=1, help="Reports (epochs) of a full trial."),
    ] = None,
    population: Annotated[
        int | None,
        typer.Option(
            help="Networks of one architecture that are trained as one program, such as 16, which "
            "takes a fraction of the time where they are small; by default each is trained on its "
            "own."
        ),
    ] = None,
    concurrency: ConcurrencyOption = None,
    cpus: CpusOption = 1.0,
    gpus: GpusOption = 0.0,
    ram: RamOption = 0.0,
    accelerator_type: AcceleratorOption = None,
    custom_resources: CustomOption = None,
    labels: LabelsOption = None,
    workers: WorkersOption = 0,
    worker_resources: WorkerResourcesOption = "CPU=1",
    placement: PlacementOption = Placement.PACK,
    max_failures: MaxFailuresOption = 0,
    time_budget: TimeBudgetOption = None,
    cost_budget: CostBudgetOption = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, such as 10.0.0.7:6379; else one on this host.")
    ] = None,
    shared_store: Annotated[
        bool, typer.Option("--shared-store", help="All nodes have the store's folder in common.")
    ] = False,
    seed: SeedOption = 0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Search for good hyperparameters.

    The same command continues a search that was interrupted or killed; a larger --trials extends
    it.

      metatune search mlp --task digits --trials 30

      metatune search my_space.toml --task shop --trainable my_code.train:fit --metric auc
      --direction maximize
    """
    from metatune.optimizers.pruning import NoPruner
    from metatune.orchestration.problem import import_trainable
    from metatune.orchestration.search import search as run_search

    resources = resources_of(context.params)
    measured = {"metric": metric, "direction": direction, "measure": measure}
    try:
        # What Ray and the user's code print goes where progress goes: results stand alone.
        with redirect_stdout(sys.stderr):
            result = run_search(
                space,
                _task(task, trainable, measured),
                None if trainable is None else import_trainable(trainable),
                trials=trials,
                study=study,
                store=store,
                seed=seed,
                optimizer=_optimizer(optimizer),
                memory=memory,
                starter=starter,
                pruner=NoPruner() if pruner is PrunerName.NONE else None,
                max_steps=max_steps,
                target=target,
                metric=None if trainable else metric,
                resources=resources,
                time_budget=time_budget,
                cost_budget=cost_budget,
                address=address,
                shared_store=shared_store,
                population=population,
                display=not as_json,
            )
    except KeyboardInterrupt:
        _say_how_to_resume("interrupt")
        raise typer.Exit(130) from None
    if as_json:
        ended = {"complete": result.complete, "stopped_by": result.stopped_by}
        printing.print_json(printing.results(result.study, result.trials) | ended)
    else:
        printing.print_study(result.study, result.trials)
    if not result.complete:
        _say_how_to_resume(result.stopped_by)
        raise typer.Exit(130 if result.stopped_by == "interrupt" else 0)


def suggest(
    space: SpaceArgument,
    task: TaskOption,
    count: Annotated[int, typer.Option(min=1, help="How many configurations.")] = 5,
    target: TargetOption = None,
    metric: MetricOption = None,
    optimizer: OptimizerOption = OptimizerName.AUTO,
    starter: StarterOption = True,
    seed: SeedOption = 0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Say what to try first; nothing is run."""
    from metatune.orchestration.search import suggest as propose

    suggestions = propose(
        space,
        _known_task(task, store),
        count=count,
        store=store,
        seed=seed,
        optimizer=_optimizer(optimizer),
        target=target,
        metric=metric,
        starter=starter,
    )
    if as_json:
        rows = [
            {"config": s.config, "optimizer": s.optimizer, "tasks": dict(s.tasks)}
            for s in suggestions
        ]
        printing.print_json({"suggestions": rows})
        return
    table = Table("#", "configuration", "proposed by", "past tasks that spoke")
    for number, s in enumerate(suggestions):
        table.add_row(str(number), config_text(s.config), s.optimizer, _spoke(s.tasks))
    printing.OUT.print(table)


def _spoke(tasks: Mapping[str, float]) -> str:
    """The past tasks that spoke, those with most weight by name."""
    ranked = sorted(tasks.items(), key=lambda task: -task[1])
    said = [f"{name} {weight:.0%}" for name, weight in ranked[:_NAMED]]
    if rest := ranked[_NAMED:]:
        said.append(f"{len(rest)} more {sum(weight for _, weight in rest):.0%}")
    return ", ".join(said)


def _task(name: str, trainable: str | None, measured: dict[str, Any]) -> Task | str:
    """What a search is given: a Task for a trainable of the user's, else the name of data."""
    given = {key: value for key, value in measured.items() if value is not None}
    if trainable is not None:
        return Task(name, **given)
    for key in given:
        if key == "metric":
            continue
        raise InputError(
            f"--{key} {given[key]} is for --trainable; built-in networks are measured by the best "
            f"of --metric, which says its direction"
        )
    return name


def _optimizer(name: OptimizerName) -> Any:
    from metatune.optimizers.auto import auto, transfer
    from metatune.optimizers.cma_es import CMAES
    from metatune.optimizers.meta_random import MetaRandomSearch
    from metatune.optimizers.optuna_samplers import GP, TPE
    from metatune.optimizers.portfolio import Portfolio
    from metatune.optimizers.random import RandomSearch
    from metatune.optimizers.surrogate_forest import ForestSurrogate
    from metatune.optimizers.surrogate_gp import GaussianProcessSurrogate
    from metatune.optimizers.surrogate_network import NetworkSurrogate
    from metatune.optimizers.surrogate_search import searching_with
    from metatune.optimizers.surrogate_svr import SupportVectorSurrogate

    makers: dict[OptimizerName, Any] = {
        OptimizerName.AUTO: auto,
        OptimizerName.RANDOM: RandomSearch(),
        OptimizerName.TPE: TPE(),
        OptimizerName.GP: GP(),
        OptimizerName.CMAES: CMAES(),
        OptimizerName.TRANSFER: transfer,
        OptimizerName.PORTFOLIO: lambda memory: Portfolio(memory.past_tasks()),
        OptimizerName.META_RANDOM: MetaRandomSearch(),
        OptimizerName.SURROGATE_GP: searching_with(GaussianProcessSurrogate()),
        OptimizerName.SURROGATE_FOREST: searching_with(ForestSurrogate()),
        OptimizerName.SURROGATE_SVR: searching_with(SupportVectorSurrogate()),
        OptimizerName.SURROGATE_NETWORK: searching_with(NetworkSurrogate()),
    }
    return makers[name]


def _known_task(name: str, store: str) -> Task | str:
    """The task of that name in the store if its trainable is the user's, else the name itself."""
    for study in ExperienceStore(store).studies():
        if study.task.name == name and "trainable" in study.training:
            return study.task
    return name


def _say_how_to_resume(stopped_by: str | None) -> None:
    command = shlex.join(["metatune", *sys.argv[1:]])
    said = {
        "time budget": "the time budget is spent; go on with:",
        "cost budget": "the cost budget is spent; go on, with a larger one:",
    }.get(stopped_by or "", "stopped; go on with:")
    printing.ERR.print(f"{said} {command}", markup=False, highlight=False)
