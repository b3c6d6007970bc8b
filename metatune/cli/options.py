"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_STORE = "~/.metatune"
StoreOption = Annotated[
    str, typer.Option("--store", help="Folder or s3:// URI where experience is kept.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
