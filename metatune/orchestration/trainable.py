"""The built-in networks as a Ray Tune trainable."""

from __future__ import annotations

import time
from typing import Any

from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from metatune.networks.dataset import Dataset
from metatune.networks.training import Training
from metatune.trial import Trial

# Often enough that little is lost with a worker, seldom enough to cost nothing.
CHECKPOINT_SECONDS = 5.0


class NetworkTrainable(tune.Trainable):
    """Trains one network; a step is an epoch. Given `{"configuration": ..., "seed": ...}`."""

    def setup(self, config: dict[str, Any], dataset: Dataset, training: dict[str, Any]) -> None:
        """Start training the configuration."""
        self._dataset, self._settings = dataset, training
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start training another configuration in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._training = Training(
            config["configuration"],
            self._dataset,
            seed=config["seed"],
            epochs=self._settings["epochs"],
            threads=self._settings["threads"],
        )
        self._saved = time.monotonic()

    def step(self) -> dict[str, Any]:
        """One epoch; its metrics."""
        metrics = dict(self._training.step())
        metrics["done"] = self._training.epoch >= self._training.epochs
        if not metrics["done"] and time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            metrics[SHOULD_CHECKPOINT] = True
            self._saved = time.monotonic()
        return metrics

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write what `load_checkpoint` goes on from: safetensors and JSON."""
        self._training.save(checkpoint_dir)

    def load_checkpoint(self, checkpoint: str) -> None:
        """Go on from a folder that `save_checkpoint` wrote."""
        self._training.load(checkpoint)


def network_trainable(dataset: Dataset, training: dict[str, Any]) -> Any:
    """NetworkTrainable on a data set, which is sent to each worker once; `training` says for how
    many epochs, with how many threads."""
    return tune.with_parameters(NetworkTrainable, dataset=dataset, training=training)


def configured(trial: Trial) -> dict[str, Any]:
    """What NetworkTrainable is given for a trial."""
    return {"configuration": trial.config, "seed": trial.seed}
