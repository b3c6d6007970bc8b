"""Populations of built-in networks as a Ray Tune trainable."""

from __future__ import annotations

import time
from typing import Any

from pyarrow import fs
from ray import tune

from metatune.networks.data.dataset import Dataset
from metatune.orchestration.initial_weights import InitialWeights
from metatune.orchestration.mailbox import Line, SearchOver
from metatune.orchestration.population_worker import PopulationWorker
from metatune.orchestration.snapshots import Snapshots
from metatune.space import SearchSpace

# Ray Tune handles each result in some milliseconds, which a result for every tick would add up to.
RESULT_SECONDS = 1.0


class PopulationTrainable(tune.Trainable):
    """Trains one population; a step is about a second. Given `{"population": name}`.

    What the members show goes to the driver through the mailbox; Ray Tune is only told how many
    train.
    """

    def setup(
        self,
        config: dict[str, Any],
        dataset: Dataset,
        training: dict[str, Any],
        mailbox: Any,
        filesystem: fs.FileSystem,
        folder: str,
        weights: InitialWeights,
        space: SearchSpace,
    ) -> None:
        """Make ready to train a population."""
        self._weights, self._space = weights, space
        self._dataset, self._settings, self._line = dataset, training, Line(mailbox)
        self._filesystem, self._folder = filesystem, folder
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Make ready to train another population in the same process."""
        self._name = str(new_config["population"])
        self._worker: PopulationWorker | None = None
        return True

    def step(self) -> dict[str, Any]:
        """Train for about a second."""
        until = time.monotonic() + RESULT_SECONDS
        try:
            if self._worker is None:
                self._worker = self._begun()
            while self._worker.live and time.monotonic() < until:
                self._worker.tick()
        except SearchOver:
            return {"members": 0, "done": True}
        return {"members": self._worker.live, "done": not self._worker.live}

    def _begun(self) -> PopulationWorker:
        snapshots = Snapshots(self._filesystem, f"{self._folder}/{self._name}")
        return PopulationWorker(
            self._name,
            self._line,
            self._dataset,
            self._settings,
            snapshots,
            self._weights,
            self._space,
        )


def population_trainable(
    dataset: Dataset,
    training: dict[str, Any],
    mailbox: Any,
    filesystem: fs.FileSystem,
    folder: str,
    weights: InitialWeights,
    space: SearchSpace,
) -> Any:
    """PopulationTrainable on a data set, which is sent to each worker once; snapshots are kept in
    `folder` on `filesystem`, members may begin from `weights` and be refined within `space`."""
    return tune.with_parameters(
        PopulationTrainable,
        dataset=dataset,
        training=training,
        mailbox=mailbox,
        filesystem=filesystem,
        folder=folder,
        weights=weights,
        space=space,
    )
