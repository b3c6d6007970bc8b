"""What stands in a search space for choices that it cannot hold.

Every way into the store asks here, so that a choice has one name whatever brought it.
"""

from __future__ import annotations

import json
import math
from typing import Any

from metatune.parameters import Value


def held_value(choice: Any) -> Value:
    """A plain string, number, boolean or None as itself; anything else as a text.

    A list, tuple or dictionary is held as JSON, tuples as lists and keys sorted, for that is what
    storages give back for them. An infinite number is held as `inf`, anything else by its name: its
    `__qualname__`, else its `repr`, or that of its class where this is an address.

    Raises RecursionError for what is nested too deeply.
    """
    if choice is None or isinstance(choice, bool):
        return choice
    if isinstance(choice, float):
        return float(choice) if math.isfinite(choice) else repr(float(choice))
    if isinstance(choice, str | int):
        return str(choice) if isinstance(choice, str) else int(choice)
    if isinstance(choice, list | tuple | dict):
        try:
            text = json.dumps(choice, default=held_value)
        except (TypeError, ValueError):  # keys that JSON has none for, or a list within itself
            return repr(choice)
        return json.dumps(json.loads(text), sort_keys=True)
    name = getattr(choice, "__qualname__", None) or repr(choice)
    # What is printed with its address has another name in the next process.
    return type(choice).__qualname__ if " at 0x" in name else str(name)
