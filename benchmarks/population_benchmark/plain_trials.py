"""One Ray Tune trial for each network, in plain torch. Workers import no more than this."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray import tune
from torch import nn
from torch.nn import functional

EPOCHS = 20
_SIZES = (64, 48, 10)
_BATCH = 64


class _Run:
    """A small MLP on its way through the data of a file."""

    def __init__(self, config: dict[str, Any]) -> None:
        with np.load(config["data"]) as arrays:
            self._arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """Begin again with another configuration."""
        inputs, hidden, outputs = _SIZES
        layers = nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
        self._network = nn.Sequential(*layers)
        rate = config["learning_rate"]
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=rate, fused=True)

    def epoch(self) -> float:
        """Train an epoch; the validation loss."""
        inputs, targets = self._arrays["train_inputs"], self._arrays["train_targets"]
        self._network.train()
        for rows in torch.split(torch.randperm(len(targets)), _BATCH):
            self._optimizer.zero_grad()
            loss = functional.cross_entropy(self._network(inputs[rows]), targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        self._network.eval()
        with torch.no_grad():
            outputs = self._network(self._arrays["validation_inputs"])
            return float(functional.cross_entropy(outputs, self._arrays["validation_targets"]))


def function_trial(config: dict[str, Any]) -> None:
    """A trial as a function; `config["reports"]`: whether each epoch is reported, or the last."""
    run = _Run(config)
    for epoch in range(1, EPOCHS + 1):
        loss = run.epoch()
        if config["reports"] or epoch == EPOCHS:
            tune.report({"loss": loss})


class ClassTrial(tune.Trainable):
    """The same as a class, whose process runs one trial after another."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load the data, and begin."""
        self._run, self._epochs = _Run(config), 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another configuration."""
        self._run.begin(new_config)
        self._epochs = 0
        return True

    def step(self) -> dict[str, Any]:
        """An epoch, or all of them."""
        for _ in range(1 if self.config["reports"] else EPOCHS):
            loss = self._run.epoch()
            self._epochs += 1
        return {"loss": loss, "done": self._epochs == EPOCHS}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save."""

    def load_checkpoint(self, checkpoint: str) -> None:
        """Nothing to load."""
