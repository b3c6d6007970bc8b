"""`metatune report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metatune.cli import printing
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.errors import InputError
from metatune.experience.files import file_name
from metatune.experience.store import ExperienceStore


def report(
    study: Annotated[str, typer.Argument(help="Study that is reported on.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file to write; by default STUDY.html here."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write what happened in a study as one HTML file, to be opened in any browser, offline."""
    kept = ExperienceStore(store)
    kept.study(study)
    path = Path(f"{file_name(study)}.html") if output is None else output
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {str(path.parent)!r} does not exist")
    with printing.ERR.status("reading") as status:
        from metatune.report import write_report

        write_report(kept, study, path, status.update)
    if as_json:
        printing.print_json({"study": study, "path": str(path), "bytes": path.stat().st_size})
    else:
        printing.OUT.print(str(path), highlight=False)
