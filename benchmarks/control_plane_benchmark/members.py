"""Many networks in one population, through the search, the mailbox and the store."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

import metatune
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.cluster import connected
from metatune.orchestration.populations import Populations
from metatune.orchestration.search import search
from metatune.parameters import Value

_SAMPLE_SECONDS = 0.5
_FIXED: Mapping[str, Value] = {
    "network": "mlp",
    "depth": 1,
    "width": 16,
    "activation": "relu",
    "normalization": "none",
    "dropout": 0.0,
    "initializer": "default",
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 1e-4,
    "gradient_clipping": False,
    "schedule": "constant",
    "batch_size": 256,
    "loss": "cross_entropy",
    "label_smoothing": 0.0,
}


@dataclass(frozen=True)
class Trained:
    """A population of `members`, all of which trained for `epochs` at the same time."""

    members: int
    epochs: int
    epoch_seconds: float  # between the first report and the last
    calls: int  # from the worker to the driver
    largest_bytes: int  # that the driver and all it started held at a time
    recorded_once: int


def train(members: int, epochs: int) -> Trained:
    """Search the learning rate of one small network on the digits, nothing pruned."""
    space = metatune.SearchSpace(
        {
            **{name: metatune.Categorical((value,)) for name, value in _FIXED.items()},
            "learning_rate": metatune.Float(1e-3, 1e-1, log=True),
        }
    )
    calls: Counter[str] = Counter()
    reported: list[float] = []
    answer = Populations.answer

    def counted(populations: Populations, method: str, *given: Any) -> Any:
        calls[method] += 1
        if method == "report":
            reported.append(time.monotonic())
        return answer(populations, method, *given)

    with tempfile.TemporaryDirectory() as folder, connected():
        with patch.object(Populations, "answer", counted), _Memory() as memory:
            search(
                space,
                "digits",
                trials=members,
                store=folder,
                optimizer=RandomSearch(),
                pruner=NoPruner(),
                max_steps=epochs,
                population=members,
                starter=False,
                display=False,
            )
        kept = metatune.ExperienceStore(Path(folder)).trials()
    once = Counter(trial.finished_index for trial in kept if trial.state.finished and trial.curve)
    if len({trial.population for trial in kept}) != 1 or len(reported) != epochs:
        raise RuntimeError(f"{members} members did not train at the same time")
    seconds = (reported[-1] - reported[0]) / (epochs - 1)
    recorded_once = sum(count == 1 for count in once.values())
    return Trained(members, epochs, seconds, calls.total(), memory.largest, recorded_once)


class _Memory:
    """The most that this process and all it started hold at a time, shared pages once."""

    def __init__(self) -> None:
        self.largest = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.wait(_SAMPLE_SECONDS):
            held = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    held += process.memory_full_info().pss
                except psutil.Error:  # it has ended
                    continue
            self.largest = max(self.largest, held)
