"""What tells in the store which records are of one and the same study of Optuna's."""

from __future__ import annotations

import hashlib
from datetime import datetime


def mark_of(name: str, began: datetime | None) -> str:
    """What the names of all studies hold that record one of Optuna's, whatever process does.

    A study may be deleted and made again under its name, so that this tells when it began: when its
    trial 0 did.
    """
    return f"-{hashlib.sha256(f'{name} {began}'.encode()).hexdigest()[:12]}-"
