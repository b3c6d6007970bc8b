"""What a trial does here: next to nothing. Its process imports this, and so no more than Ray."""

from __future__ import annotations

import os
import time
from typing import Any

from ray import tune


class Short(tune.Trainable):
    """Reports once how far its configuration is from a point."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the configuration."""
        self._values = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another configuration."""
        self._values = new_config
        return True

    def step(self) -> dict[str, Any]:
        """The one report, with the process that made it."""
        loss = sum((float(x) - 0.3) ** 2 for x in self._values.values())
        return {"loss": loss, "process": os.getpid(), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save."""

    def load_checkpoint(self, checkpoint: str) -> None:
        """Nothing to load."""


class Lasting(Short):
    """Takes five seconds, and no processor."""

    def step(self) -> dict[str, Any]:
        """The one report."""
        time.sleep(5.0)
        return super().step()
