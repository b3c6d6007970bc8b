"""Ray Tune programs as users have them, which know nothing of metatune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune

# The workers cannot import this module by its name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

STEPS = 6


def loss(x: float, step: int) -> float:
    return (x - 0.3) ** 2 + 1.0 / step


class Class(tune.Trainable):
    """Reports six times and is done, or goes on if its configuration says `endless`."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.at, self.endless = config["x"], 0, config.get("endless", False)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self.at += 1
        return {"loss": loss(self.x, self.at), "done": self.at == STEPS and not self.endless}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "at").write_text(str(self.at))

    def load_checkpoint(self, checkpoint: str) -> None:
        self.at = int(Path(checkpoint, "at").read_text())


def function(config: dict[str, Any]) -> dict[str, float] | None:
    """Goes well or wrong, by its configuration."""
    how = config["how"]
    if how == "returns":
        for step in range(1, 4):
            tune.report({"loss": 1.0 / step})
    if how == "raises":
        tune.report({"loss": 1.0})
        raise ValueError("no luck\nwith this one")
    if how == "recovers":
        tune.report({"loss": float("nan")})
        tune.report({"loss": 2.0})
    if how in ("value", "nan"):
        return {"loss": 1.0 if how == "value" else float("nan")}
    return None
