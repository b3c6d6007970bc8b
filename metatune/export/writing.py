"""Writing the files of exports."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from metatune.errors import InputError


def check_place(path: Path) -> None:
    """Raise InputError naming a file that could not be written, before work is done for it."""
    if path.is_dir() or not path.parent.is_dir():
        why = os.strerror(errno.EISDIR if path.is_dir() else errno.ENOENT)
        raise InputError(f"{path}: cannot be written: {why}")


def write_text(path: Path, text: str) -> None:
    """Write a file, whatever was there before; raises InputError naming it where that fails."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """See `write_text`."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
