"""A search without Ray, one trial at a time, that kills itself at a chosen write of the store.

Usage: crash_driver.py STORE TRIALS [CALL WHEN COUNT]: CALL is open, fsync or replace in `os`, WHEN
is before or after, COUNT says at which of its calls.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from metatune import ExperienceStore, Float, SearchSpace, Study, Task
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.pruning import SuccessiveHalving
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit

SPACE = SearchSpace({"x": Float(0, 1), "y": Float(1e-3, 1, log=True)})
STEPS = 9


def kill_at(call: str, when: str, count: int) -> None:
    """End this process with SIGKILL at the `count`-th call of `os.call`."""
    original: Callable[..., Any] = getattr(os, call)
    calls = [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        if call == "open" and not str(args[0]).endswith(".tmp"):
            return original(*args, **kwargs)
        calls[0] += 1
        if calls[0] == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, call, counted)


def main(folder: str, trials: int) -> None:
    store = ExperienceStore(folder)
    study = Study("study", Task("toy"), SPACE, seed=1, trials=trials)
    with store.lease("study"):
        if store.find_study("study") is None:
            store.put_study(study)
        pruner = SuccessiveHalving(min_step=1, reduction=3)
        with GroupCommit(store.append) as commits:
            known = store.trials(study="study")
            coordinator = Coordinator(study, known, TPE(startup_trials=5), pruner, commits)
            while (trial := coordinator.ask()) is not None:
                x, y = float(trial.config["x"] or 0), float(trial.config["y"] or 0)
                for step in range(trial.step + 1, STEPS + 1):
                    loss = (x - 0.3) ** 2 + y / step
                    if coordinator.report(trial.number, step, {"loss": loss}, float(step)):
                        break
                    if step in (2, 5):
                        coordinator.checkpoint(trial.number, f"/saved/{step}")
                coordinator.finish(trial.number)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        kill_at(sys.argv[3], sys.argv[4], int(sys.argv[5]))
    main(sys.argv[1], int(sys.argv[2]))
