"""The built-in networks as a Ray Tune trainable."""

from __future__ import annotations

import time
from typing import Any

from ray import tune
from ray.tune.result import SHOULD_CHECKPOINT

from metatune.networks.data.dataset import Dataset
from metatune.networks.hypergradients.refinement import asks_to_be_refined, refine
from metatune.networks.inheritance import weights_by_place
from metatune.networks.training import Training
from metatune.orchestration.initial_weights import NOWHERE, InitialWeights
from metatune.orchestration.known_refinement import PROPOSED, REFINED
from metatune.orchestration.known_weights import KEPT, PARENT
from metatune.space import Config, SearchSpace
from metatune.trial import Trial

# Often enough that little is lost with a worker, seldom enough to cost nothing.
CHECKPOINT_SECONDS = 5.0


class NetworkTrainable(tune.Trainable):
    """Trains one network; a step is an epoch. Given `{"configuration": ..., "seed": ...}`, and as
    `parent` what is known of the weights that it begins from, if it inherits any."""

    def setup(
        self,
        config: dict[str, Any],
        dataset: Dataset,
        training: dict[str, Any],
        weights: InitialWeights,
        space: SearchSpace | None = None,
    ) -> None:
        """Start training the configuration."""
        self._space = space
        self._dataset, self._settings, self._weights = dataset, training, weights
        self._learned = weights.learned(training)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start training another configuration in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._given = config
        self._training = self._started(config["configuration"])
        self._is_refined = config.get(REFINED, False) or not asks_to_be_refined(
            config["configuration"]
        )
        self._saved = time.monotonic()

    def _started(self, configuration: Config) -> Training:
        return Training(
            configuration,
            self._dataset,
            seed=self._given["seed"],
            epochs=self._settings["epochs"],
            threads=self._settings["threads"],
            learned=self._learned,
            parent=self._weights.parent(self._given),
        )

    def _refine(self, space: SearchSpace) -> dict[str, Any]:
        """Let training begin with better values; what the driver is told of it."""
        began = time.perf_counter()
        (values,) = refine([self._training], space)
        self._training = self._started({**self._given["configuration"], **values})
        self._is_refined = True
        return {"values": values, "seconds": time.perf_counter() - began}

    def step(self) -> dict[str, Any]:
        """One epoch, the first after refining if the configuration asks for that; its metrics."""
        refined: dict[str, Any] = {}
        if not self._is_refined and self._space is not None:
            refined = {REFINED: self._refine(self._space)}
        metrics = {**self._training.step(), **refined}
        metrics["done"] = self._training.epoch >= self._training.epochs
        if metrics["done"]:
            kept = self._weights.keep(
                self._training.config, lambda: weights_by_place(self._training.network)
            )
            metrics |= {} if kept is None else {KEPT: kept}
        elif time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            metrics[SHOULD_CHECKPOINT] = True
            self._saved = time.monotonic()
        return metrics

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write what `load_checkpoint` goes on from: safetensors and JSON."""
        self._training.save(checkpoint_dir)

    def load_checkpoint(self, checkpoint: str) -> None:
        """Go on from a folder that `save_checkpoint` wrote."""
        self._is_refined = True
        self._training.load(checkpoint)


def network_trainable(
    dataset: Dataset,
    training: dict[str, Any],
    weights: InitialWeights = NOWHERE,
    space: SearchSpace | None = None,
) -> Any:
    """NetworkTrainable on a data set, which is sent to each worker once; `training` says for how
    many epochs, with how many threads, `weights` where those are that it may begin from, `space`
    within what it may be refined."""
    return tune.with_parameters(
        NetworkTrainable, dataset=dataset, training=training, weights=weights, space=space
    )


def configured(trial: Trial) -> dict[str, Any]:
    """What NetworkTrainable is given for a trial."""
    given: dict[str, Any] = {"configuration": trial.config, "seed": trial.seed}
    given |= {REFINED: True} if PROPOSED in trial.training else {}
    return given | ({PARENT: trial.training[PARENT]} if PARENT in trial.training else {})
