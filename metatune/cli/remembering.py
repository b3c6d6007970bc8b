"""`metatune experience`: look at and look after what is remembered."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Column, Table

from metatune.cli import printing
from metatune.cli.importing import import_command
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.errors import InputError
from metatune.experience.store import ExperienceStore
from metatune.orchestration.reasons import reasons

app = typer.Typer(
    help="Look at and look after what earlier searches learned.", no_args_is_help=True
)
app.command("import")(import_command)


@app.command("list")
def list_command(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """The studies that are remembered."""
    kept = ExperienceStore(store)
    rows = [
        printing.summary(known, kept.trials(study=known.name, columns=["value"]))
        for known in kept.studies()
    ]
    if as_json:
        printing.print_json({"studies": rows})
        return
    heads = ["study", "task", "trials", "best", "metric", "proposed by"]
    table = Table(*(Column(head, overflow="fold") for head in heads))
    for row in rows:
        count = ", ".join(f"{n} {state.lower()}" for state, n in row["states"].items())
        best = "" if row["best"] is None else f"{row['best']['value']:.6g}"
        table.add_row(row["study"], row["task"], count, best, row["metric"], row["optimizer"])
    printing.OUT.print(table)


@app.command()
def show(
    task: Annotated[str | None, typer.Option(help="Only trials on this task.")] = None,
    study: Annotated[str | None, typer.Option(help="Only trials of this study.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """The trials that are remembered: how they ended, and why those that failed or had to be tried
    again did."""
    kept = ExperienceStore(store)
    if study is not None:
        kept.study(study)
    names = sorted({known.name for known in kept.tasks()})
    if task is not None and task not in names:
        raise InputError(f"task {task!r} is not in the store {kept.uri}; it has {names}")
    trials = kept.trials(study=study, task=task)
    if as_json:
        printing.print_json({"trials": [printing.trial_row(trial) for trial in trials]})
        return
    table = Table(
        Column("study", overflow="fold"),
        *(Column(head, no_wrap=True) for head in ("trial", "state", "value", "steps", "seconds")),
        Column("proposed by", overflow="fold"),
        Column("why it failed", overflow="fold"),
    )
    for trial in trials:
        value = "" if trial.value is None else f"{trial.value:.6g}"
        row = [str(trial.number), trial.state, value, str(trial.step), f"{trial.cost:.1f}"]
        why = printing.counted(Counter(reasons(trial)))
        table.add_row(trial.study, *row, trial.suggestion.optimizer, why)
    printing.OUT.print(table)
    printing.OUT.print("configurations, curves and tracebacks: add --json")


@app.command()
def compact(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Merge many small files into few; safe while searches run."""
    done = ExperienceStore(store).compact()
    if as_json:
        printing.print_json(asdict(done))
    else:
        printing.OUT.print(
            ", ".join(f"{key.replace('_', ' ')} {n}" for key, n in asdict(done).items())
        )


@app.command()
def verify(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Name every file that is not what was written; ends with 1 if there is one."""
    damaged = ExperienceStore(store).verify()
    if as_json:
        printing.print_json({"damaged": [{"path": d.path, "reason": d.reason} for d in damaged]})
    else:
        for damage in damaged:
            printing.OUT.print(f"{damage.path}: {damage.reason}", highlight=False)
        printing.OUT.print(f"{len(damaged)} damaged")
    if damaged:
        raise typer.Exit(1)
