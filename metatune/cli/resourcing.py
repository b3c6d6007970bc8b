"""Options that say what trials get of a cluster, and how long they may train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metatune.cli.quantities import amounts, duration, label, of_option, size
from metatune.errors import InputError
from metatune.orchestration.fitting import Placement

if TYPE_CHECKING:
    from metatune.orchestration.resources import Resources

_EACH = "Resources of each trial or population"
_HOW_LONG = "Budgets and failures"

ConcurrencyOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Trials, or populations, at a time, such as 32; by default as many as fit the nodes "
        "that there are. Say it where nodes come as they are needed.",
        rich_help_panel=_EACH,
    ),
]
CpusOption = Annotated[
    float,
    typer.Option(min=0, help="Processors, or a fraction, such as 0.5.", rich_help_panel=_EACH),
]
GpusOption = Annotated[
    float,
    typer.Option(min=0, help="GPUs, or a fraction of one, such as 0.25.", rich_help_panel=_EACH),
]
RamOption = Annotated[
    float,
    typer.Option(
        parser=of_option("--ram", size),
        metavar="SIZE",
        help="Memory, such as 500MB, 2GB or 2GiB; 0 sets none aside.",
        rich_help_panel=_EACH,
    ),
]
AcceleratorOption = Annotated[
    str | None,
    typer.Option(
        help="Only on nodes with this accelerator, by Ray's name, such as A100 or T4.",
        rich_help_panel=_EACH,
    ),
]
CustomOption = Annotated[
    str | None,
    typer.Option(
        "--custom-resources",
        metavar="AMOUNTS",
        help="Of resources that nodes were started with, such as license=1,fpga=2.",
        rich_help_panel=_EACH,
    ),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME=VALUE",
        help="Only on nodes with this label, such as ray.io/market-type=spot, zone=!a or "
        "zone=in(a,b); may be repeated.",
        rich_help_panel=_EACH,
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Workers that a --trainable starts by itself, such as 4: so many have room in each "
        "trial.",
        rich_help_panel=_EACH,
    ),
]
WorkerResourcesOption = Annotated[
    str,
    typer.Option(
        metavar="AMOUNTS",
        help="What each of --workers gets, such as CPU=2,GPU=1,memory=4GB.",
        rich_help_panel=_EACH,
    ),
]
PlacementOption = Annotated[
    Placement,
    typer.Option(
        help="Where --workers go: on few nodes (PACK) or on many (SPREAD), if that can be; on one "
        "only (STRICT_PACK) or on one each (STRICT_SPREAD), or the trial waits.",
        rich_help_panel=_EACH,
    ),
]
MaxFailuresOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="How often a trial that raises is tried again from its last checkpoint, such as 2; "
        "why it failed each time is kept. That a process or a node is lost is no failure. Members "
        "of populations that raise are not tried again.",
        rich_help_panel=_HOW_LONG,
    ),
]
TimeBudgetOption = Annotated[
    float | None,
    typer.Option(
        parser=of_option("--time-budget", duration),
        metavar="DURATION",
        help="How long to search, such as 90s, 30m, 2h, 1h30m, or 600 for seconds.",
        rich_help_panel=_HOW_LONG,
    ),
]
CostBudgetOption = Annotated[
    float | None,
    typer.Option(
        parser=of_option("--cost-budget", duration),
        metavar="DURATION",
        help="How long to train in all, such as 90m, 8h or 2d: the sum over all trials of the "
        "study, those of earlier runs too. Then the search stops, and can be gone on with.",
        rich_help_panel=_HOW_LONG,
    ),
]


def resources_of(params: Mapping[str, Any]) -> Resources:
    """What the options above say, by their names; InputError names the one that is wrong."""
    from metatune.orchestration.resources import Resources

    custom, each = params["custom_resources"], params["worker_resources"]
    labels = dict[str, str]()
    for name, value in map(of_option("--label", label), params["labels"] or ()):
        if labels.setdefault(name, value) != value:
            raise InputError(
                f"--label {name}={value}: is {name}={labels[name]} too; in(a,b) is either"
            )
    return Resources(
        cpus=params["cpus"],
        gpus=params["gpus"],
        concurrency=params["concurrency"],
        max_failures=params["max_failures"],
        memory=params["ram"],
        accelerator_type=params["accelerator_type"],
        custom=of_option("--custom-resources", amounts)(custom) if custom else {},
        labels=labels,
        bundles=[of_option("--worker-resources", amounts)(each)] * params["workers"],
        placement=params["placement"],
    )
