"""`metatune train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from metatune.cli import printing
from metatune.cli.options import JsonOption


def train(
    file: Annotated[Path, typer.Argument(help="Configuration that `metatune export` wrote.")],
    own_code: Annotated[
        bool, typer.Option("--own-code", help="Import the functions of yours that it names.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train an exported configuration again and print its scores."""
    from metatune.export import documents, retraining

    exported = documents.read(file)
    with printing.bar("training", exported["training"].get("epochs")) as advance:
        got = retraining.train(exported, str(file), advance, own_code)
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
    metric, verdict = exported["task"]["metric"], got.verdict
    if got.value != got.recorded and exported["training"]["engine"] == "fused":
        verdict += ", as a population rounds in another order"
    printing.OUT.print(f"{metric}: {got.value!r} (recorded {got.recorded!r}: {verdict})")
    if said := documents.said_of_seeds(exported["result"]):
        printing.OUT.print(said, highlight=False)
    table = Table("test score", "value")
    for name, value in got.test.items():
        table.add_row(name, f"{value:.4f}")
    printing.OUT.print(table)
