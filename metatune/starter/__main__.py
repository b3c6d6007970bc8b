"""`python -m metatune.starter OUTPUT_FOLDER`: make the starter experience anew."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from metatune.errors import MetatuneError
from metatune.starter.making import make


def main() -> int:
    """Parse the command line and make it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m metatune.starter", description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty one, or one to go on with")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error(f"--workers {options.workers} must be at least 1")
    console = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    )
    with shown:
        bar = shown.add_task("studies")

        def show(name: str, done: int, of: int) -> None:
            shown.update(bar, completed=done, total=of)
            if name:
                console.print(f"{done}/{of} {name}", highlight=False)

        try:
            seconds = make(options.folder, options.workers, show)
        except MetatuneError as error:
            console.print(f"error: {error}", markup=False, highlight=False)
            return 2
    print(f"{options.folder}: {seconds / 60:.1f} minutes of processor time spent in its trials")
    return 0


if __name__ == "__main__":
    sys.exit(main())
