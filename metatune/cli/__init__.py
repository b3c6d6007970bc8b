"""The command line."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

from metatune.cli import clustering, printing, remembering
from metatune.cli.exporting import export
from metatune.cli.jobs import logs, results, status, stop, submit
from metatune.cli.learning import learn
from metatune.cli.reporting import report
from metatune.cli.retraining import train
from metatune.cli.searching import search, suggest
from metatune.errors import MetatuneError

app = typer.Typer(
    help="Search hyperparameters starting from what every earlier search learned.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (search, suggest, train, export, report, learn):
    app.command()(command)
# What `submit` does not know itself is for the search.
app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(submit)
for remote in (status, logs, stop, results):
    app.command()(remote)
app.add_typer(remembering.app, name="experience")
app.add_typer(clustering.app, name="cluster")


def main() -> None:
    """Run the command line: an error of metatune's is one line and an exit code."""
    warnings.showwarning = _show_warning
    try:
        app()
    except MetatuneError as error:
        printing.ERR.print(
            f"metatune: {' '.join(str(error).split())}", markup=False, highlight=False
        )
        sys.exit(error.exit_code)


def _show_warning(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    printing.ERR.print(f"warning: {' '.join(str(message).split())}", markup=False, highlight=False)
