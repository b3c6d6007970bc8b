"""Training the best member of a population once more by itself.

A member's numbers are those of a network trained alone but for rounding, which training amplifies.
What is exported is what anyone can repeat.
"""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.progress import Progress

from metatune.networks.data.dataset import Dataset
from metatune.networks.lineage import LINEAGE, training_along
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.initial_weights import NOWHERE, InitialWeights
from metatune.task import Report
from metatune.trial import best_trial

_SHOWN_SECONDS = 2.0  # what takes less is over before anyone reads what it is


def train_best_alone(
    coordinator: Coordinator, dataset: Dataset, show: bool, weights: InitialWeights = NOWHERE
) -> None:
    """Train the best trial by itself if it was a member of a population, and record its value as
    `alone` in what is known of its training; None where that is no finite number."""
    best = best_trial(coordinator.study.task, coordinator.trials)
    if best is None or best.population is None or "alone" in best.training:
        return
    known, task = best.training, coordinator.study.task
    training = training_along(
        known.get(LINEAGE),
        best.config,
        dataset,
        seed=best.seed,
        epochs=known["epochs"],
        threads=known["threads"],
        learned=weights.learned(known),
        parent=weights.parent(known),
    )
    console = Console(stderr=True)
    hidden = not (show and console.is_terminal)
    curve: list[Report] = []
    began = time.monotonic()
    with Progress(console=console, transient=True, disable=hidden) as bars:
        bar = bars.add_task("training the best alone", total=best.step, visible=False)
        while training.epoch < best.step:
            value = training.step()[task.metric]
            seconds = time.monotonic() - began
            curve.append(Report(training.epoch, value, seconds))
            bars.update(bar, completed=training.epoch, visible=seconds > _SHOWN_SECONDS)
    alone = task.value(curve)
    finite = alone is not None and math.isfinite(alone)
    coordinator.annotate(best.number, alone=alone if finite else None)
