"""`metatune experience import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from metatune.cli import printing
from metatune.cli.import_plan import as_tables, print_plan
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.errors import InputError, SpaceError
from metatune.experience.history.importing import carry_out, plan_import
from metatune.experience.history.passwords import hide_password
from metatune.experience.history.plans import Choices, ImportPlan
from metatune.experience.history.sources import Tool
from metatune.experience.store import ExperienceStore
from metatune.space import SearchSpace
from metatune.task import Direction, Measure


def import_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH_OR_URI",
            help="An Optuna storage (a .db file, a journal file, or a URL as Optuna takes it), a "
            "Ray Tune experiment folder, an MLflow tracking folder or database, W&B offline runs "
            "or a run-table CSV, or a .csv, .tsv, .json, .jsonl or .parquet file.",
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            help="What was learned: studies of one task speak to each other most. {study} stands "
            "for the name of each study, where every one is a task of its own."
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(help="What was optimized, where the source does not say or has several."),
    ] = None,
    direction: Annotated[
        Direction | None, typer.Option(help="Which way it is better, where the source is silent.")
    ] = None,
    measure: Annotated[
        Measure, typer.Option(help="Which report of a learning curve counts.")
    ] = "last",
    study: Annotated[
        str | None, typer.Option(help="Only the study (experiment, project) of this name.")
    ] = None,
    tool: Annotated[
        Tool | None, typer.Option("--from", help="What wrote it, where that is taken wrongly.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="Search space (a TOML file) to take instead of what is inferred."),
    ] = None,
    write_space: Annotated[
        Path | None,
        typer.Option(help="Write the space here, to correct it and give it with --space."),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(help="Table: columns of parameters, with commas; by default all others."),
    ] = None,
    trial: Annotated[
        str | None,
        typer.Option(help="Table: column that tells the trial, where it has several rows."),
    ] = None,
    step: Annotated[
        str | None, typer.Option(help="Table: column of steps (epochs), with --trial.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="Table: column of how trials ended, such as FAILED.")
    ] = None,
    seconds: Annotated[
        str | None, typer.Option(help="Table: column of how long trials took.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Import without asking.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would be imported, no more.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Bring studies of other tools into the store, so that searches start from them.

    The source is only read. Where it does not say what kind of parameter something is, in which
    range and on which scale, that is inferred from the values tried and shown before anything is
    imported. Importing again adds just the trials that are new, and what metatune recorded in this
    store when it ran is left out. What cannot be read is listed, and the rest imported.

      metatune experience import sqlite:///old.db --task shop --study resnet-tuning

      metatune experience import runs.csv --task shop --metric val_loss --direction minimize
      --parameters lr,batch_size,optimizer

      metatune experience import curves.csv --task shop --metric accuracy --direction maximize
      --trial run --step epoch --parameters lr,depth

    To correct what is inferred, write it with --dry-run --write-space space.toml, edit that file
    and import with --space space.toml.
    """
    kept = ExperienceStore(store)
    columns: dict[str, Any] = {"trial": trial, "step": step, "state": state, "seconds": seconds}
    if parameters is not None:
        columns["parameters"] = [name.strip() for name in parameters.split(",")]
    choices = Choices(
        metric=metric,
        direction=direction,
        measure=measure,
        study=study,
        space=None if space is None else SearchSpace.load(space),
        space_source=space or "",
        tool=tool,
        columns={name: value for name, value in columns.items() if value is not None},
    )
    with printing.ERR.status(f"reading {hide_password(source)}"):
        plan = plan_import(kept, source, task, choices)
    if write_space is not None:
        _write_space(plan, write_space)
    if not as_json:
        print_plan(plan)
    imported = not dry_run and plan.trials > 0
    if imported:
        if not _confirmed(plan, yes, as_json):
            raise typer.Exit(1)
        with printing.bar("importing", plan.trials) as advance:
            carry_out(kept, plan, advance)
    if as_json:
        printing.print_json({"imported": imported, **as_tables(plan)})
    elif imported:
        printing.OUT.print(f"imported {plan.trials} trials into {kept.uri}", highlight=False)
    elif not plan.trials:
        printing.OUT.print("nothing is new: what can be imported was imported before")


def _confirmed(plan: ImportPlan, yes: bool, as_json: bool) -> bool:
    """Whether to go on; raises InputError where nobody can be asked."""
    if yes:
        return True
    if as_json or not _can_ask():
        raise InputError("nothing was imported: nobody can be asked here; add --yes, or --dry-run")
    return typer.confirm(f"Import {plan.trials} trials?")


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _write_space(plan: ImportPlan, path: Path) -> None:
    spaces = {planned.study.space.id: planned.study.space for planned in plan.studies}
    if len(spaces) > 1:
        names = [planned.found.name for planned in plan.studies]
        raise InputError(
            f"--write-space {path}: the studies have {len(spaces)} spaces; choose one with --study "
            f"from {names}"
        )
    text = next(iter(spaces.values())).to_toml()
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpaceError(f"--write-space {path}: cannot be written: {error}") from None
