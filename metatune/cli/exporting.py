"""`metatune export` and `metatune train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from metatune.cli import printing
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.errors import InputError, StudyError
from metatune.experience.store import ExperienceStore
from metatune.trial import best_trial


def train(
    file: Annotated[Path, typer.Argument(help="Configuration that `metatune export` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Train an exported configuration again and print its scores."""
    from metatune import export as documents

    exported = documents.read(file)
    shown = printing.ERR.is_terminal
    with Progress(console=printing.ERR, transient=True, disable=not shown) as progress:
        bar = progress.add_task("training", total=exported["training"].get("epochs"))
        got = documents.train(
            exported, str(file), lambda epoch: progress.update(bar, completed=epoch)
        )
    if as_json:
        printing.print_json(
            {
                "recorded": got.recorded,
                "value": got.value,
                "same": got.value == got.recorded,
                "test": got.test,
            }
        )
        return
    metric = exported["task"]["metric"]
    verdict = "the same" if got.value == got.recorded else f"off by {got.value - got.recorded:.3g}"
    if got.value != got.recorded and exported["training"]["engine"] == "fused":
        verdict += ", as a population rounds in another order"
    printing.OUT.print(f"{metric}: {got.value!r} (recorded {got.recorded!r}: {verdict})")
    table = Table("test score", "value")
    for name, value in got.test.items():
        table.add_row(name, f"{value:.4f}")
    printing.OUT.print(table)


def export(
    study: Annotated[str, typer.Argument(help="Study whose best trial is written.")],
    form: Annotated[
        str | None,
        typer.Option("--format", help="toml, json or yaml; by default as OUTPUT ends, or toml."),
    ] = None,
    trial: Annotated[int | None, typer.Option(help="Another trial than the best.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write the best configuration of a study as a file that `metatune train` trains again."""
    from metatune import export as documents

    if as_json:
        form = "json"
    elif form is None:
        form = "toml" if output is None else documents.format_of(output)
    kept = ExperienceStore(store)
    found = kept.study(study)
    trials = kept.trials(study=study)
    if trial is None:
        chosen = best_trial(found.task, trials)
    else:
        chosen = next((t for t in trials if t.number == trial and t.value is not None), None)
    if chosen is None:
        what = "complete trial" if trial is None else f"trial {trial} with a value"
        raise StudyError(f"study {study!r} has no {what} to export")
    document = documents.document(found, chosen)
    text = documents.to_text(document, form)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    value = document["result"]["value"]
    printing.ERR.print(f"wrote {output}: {found.task.metric} {value!r}", highlight=False)
