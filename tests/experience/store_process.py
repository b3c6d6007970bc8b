"""One of several processes that use a store at a time.

Usage: store_process.py append URI STUDY TRIALS BATCH      append so many trials, so many at a time
                        read URI TRIALS                    read until there are so many
                        compact URI TRIALS GRACE           compact until there are so many
                        crash URI CALL COUNT WHEN          die at a write of an append
                        hold URI STUDY                     hold the lease until killed
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from samples import make_study, make_trial

from metatune.errors import StudyLockedError
from metatune.experience.store import ExperienceStore


def append(store: ExperienceStore, study: str, trials: int, batch: int) -> None:
    store.put_study(make_study(study))
    for start in range(0, trials, batch):
        store.append([make_trial(start + i, study) for i in range(batch)])


def read(store: ExperienceStore, trials: int) -> int:
    """Read on; a trial seen once is seen ever after. Returns the number of reads."""
    seen: set[str] = set()
    reads = 0
    while len(seen) < trials:
        found = store.trials(columns=("value",))
        ids = {trial.id for trial in found}
        assert len(ids) == len(found), "a trial was read twice"
        assert seen <= ids, f"lost {sorted(seen - ids)}"
        assert all(trial.value == 0.5 for trial in found)
        seen, reads = ids, reads + 1
    return reads


def compact(store: ExperienceStore, trials: int, grace: float) -> int:
    """Compact on, deleting as it goes. Returns the number of files deleted."""
    deleted = 0
    while len(store.trials(columns=())) < trials:
        deleted += store.compact(grace).files_deleted
        time.sleep(0.2)
    time.sleep(grace + 1)
    return deleted + store.compact(grace).files_deleted


def crash(store: ExperienceStore, call: str, count: int, when: str) -> None:
    """Append three trials and die at the `count`-th `os.call`, having done half of a write."""
    original: Callable[..., Any] = getattr(os, call)
    calls = [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] < count:
            return original(*args, **kwargs)
        if call == "write":
            original(args[0], args[1][: len(args[1]) // 2])
        elif when == "after":
            original(*args, **kwargs)
        os._exit(9)

    setattr(os, call, counted)
    store.append([make_trial(number, revision=1) for number in range(3)])


def hold(store: ExperienceStore, study: str) -> None:
    try:
        store.lease(study).acquire()
    except StudyLockedError as error:
        print(f"refused: {error}", flush=True)
        return
    print("held", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    warnings.simplefilter("error")
    actions: dict[str, Callable[..., Any]] = {
        action.__name__: action for action in (append, read, compact, crash, hold)
    }
    action, uri, *words = sys.argv[1:]
    values = [float(w) if "." in w else int(w) if w.isdigit() else w for w in words]
    print(actions[action](ExperienceStore(uri), *values))
