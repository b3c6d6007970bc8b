"""What is made of a trial whose process ended before the trial did.

A trial fails by what its trainable raises. A process that died and a node that was lost say nothing
of it: it goes on elsewhere from its last checkpoint. But one that ends its process each time would
do so for ever; so three deaths of its process, or ten losses of its node, without a checkpoint in
between are its own failure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from enum import StrEnum

from metatune.orchestration.reasons import raised
from metatune.orchestration.reuse import NOT_RESET


class Cause(StrEnum):
    """Why a process ended before its trial did."""

    TRAINABLE = "the trainable raised"
    PROCESS = "its process died"
    NODE = "its node was lost"
    STORE = "what it saves could not be stored or read"
    NOT_RESET = "its process could not be used again"


_MOST = {Cause.PROCESS: 3, Cause.NODE: 10, Cause.STORE: 10, Cause.TRAINABLE: 3}
# How Ray begins what it says of actors that died or could not be started; what an exception of the
# trainable's says begins with `ray::`, and one when it is made with another line.
_DIED = re.compile(
    r"The actor (died unexpectedly|experienced an error|\S+ is unavailable)"
    r"|Failed to set up runtime environment"
)
# How the trainable raises what became of a worker of its own.
_WORKER_DIED = re.compile(
    r"ray\.exceptions\.(ActorDied|RayActor|NodeDied|WorkerCrashed|ActorUnavailable)Error\b"
)
_NODE = re.compile(r"its node has died")
# The parts of Ray that keep checkpoints, and our own that keep those of populations.
_STORAGE = re.compile(r"/ray/train/_internal/storage\.py\"|^metatune\.errors\.StoreError:", re.M)
_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large")


def cause_of(error: str) -> Cause:
    """Why one of Ray's trials ended, from the text that Ray keeps of its error."""
    if NOT_RESET in error:
        return Cause.NOT_RESET
    if _DIED.match(error) or _WORKER_DIED.match(raised(error)):
        return Cause.NODE if _NODE.search(error) else Cause.PROCESS
    return Cause.STORE if _STORAGE.search(error) else Cause.TRAINABLE


def is_full(error: str) -> bool:
    """Whether the error is that of a disk with no room left."""
    return _FULL.search(error) is not None


class Setbacks:
    """Counts how often each trial or population was set back without getting any further."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, Counter[Cause]] = {}
        self._places: dict[Hashable, Hashable] = {}

    def too_many(self, who: Hashable, place: Hashable, cause: Cause) -> str | None:
        """Note that `who` goes back to `place`, its last checkpoint; in words how often it did so
        in a row, where that is not to be tried again."""
        if self._places.get(who) != place:
            self._places[who], self._counts[who] = place, Counter()
        count = self._counts.setdefault(who, Counter())
        count[cause] += 1
        if count[cause] < _MOST[cause]:
            return None
        return f"{cause} {count[cause]} times in a row, without a checkpoint in between"
