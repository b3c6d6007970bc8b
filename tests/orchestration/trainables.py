"""Ray Tune trainables as a user would write them: they know nothing of metatune."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from ray import tune

STEPS = 6


def loss(x: float, step: int) -> float:
    return (x - 0.3) ** 2 + 1.0 / step


def function(config: dict[str, Any]) -> None:
    """Reports a curve and checkpoints every second step."""
    first, checkpoint = 1, tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            first = json.loads(Path(folder, "state.json").read_text())["step"] + 1
    for step in range(first, STEPS + 1):
        time.sleep(config.get("seconds", 0.0))
        metrics = {"loss": loss(config["x"], step)}
        if step % 2:
            tune.report(metrics)
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state.json").write_text(json.dumps({"step": step}))
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


class Class(tune.Trainable):
    """The same curve as a class that can be reused; checkpoints every second step."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.seconds, self.at = config["x"], config.get("seconds", 0.0), 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self.seconds)
        self.at += 1
        save = self.at % 2 == 0 and self.seconds > 0
        return {
            "loss": loss(self.x, self.at),
            "done": self.at == STEPS,
            "should_checkpoint": save,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "state.json").write_text(json.dumps({"step": self.at}))

    def load_checkpoint(self, checkpoint: str) -> None:
        self.at = json.loads(Path(checkpoint, "state.json").read_text())["step"]


class Logged(Class):
    """Says in a file from which step it starts or goes on."""

    began: bool

    def step(self) -> dict[str, Any]:
        if not self.began:
            self.began = True
            line = json.dumps({"x": self.x, "step": self.at, "pid": os.getpid()})
            with Path(os.environ["CHAOS_LOG"]).open("a") as log:
                log.write(line + "\n")
        return super().step()

    def setup(self, config: dict[str, Any]) -> None:
        self.began = False
        super().setup(config)


def deadly(config: dict[str, Any]) -> None:
    """Kills its process at steps 3 and 5: `once` each, or `always`."""
    marks = Path(config["folder"])
    first, checkpoint = 1, tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            first = json.loads(Path(folder, "state.json").read_text())["step"] + 1
    for step in range(first, STEPS + 1):
        mark = marks / f"{config['how']}-{step}"
        if step in (3, 5) and (config["how"] == "always" or not mark.exists()):
            with mark.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state.json").write_text(json.dumps({"step": step}))
            saved = tune.Checkpoint.from_directory(folder)
            tune.report({"loss": 1.0 / step}, checkpoint=saved)


def troubled(config: dict[str, Any]) -> Any:
    """Ends in every way a trial can end badly, by its configuration."""
    how = config["how"]
    if how == "raises":
        raise ValueError("no luck\nwith this one")
    if how == "nan":
        return {"loss": float("nan")}
    if how == "no metric":
        return {"accuracy": 1.0, "eval": {"loss": 1.0}}
    if how == "silent":
        return None
    if how == "dies":
        os._exit(1)
    return {"loss": 1.0}


class Upwards(Class):
    """Reports a score that is better when higher."""

    def step(self) -> dict[str, Any]:
        return {"score": -((self.x - 0.3) ** 2), "done": True}


class Nested(Class):
    """Reports a metric within a group, and that it is done."""

    def step(self) -> dict[str, Any]:
        return {"eval": {"loss": 0.5}, "done": True}


def nested(config: dict[str, Any]) -> None:
    """Reports a metric within a group."""
    tune.report({"eval": {"loss": 0.5}})


class OneShot(Class):
    """Says that it cannot be reset, and runs once in a process."""

    used = False

    def setup(self, config: dict[str, Any]) -> None:
        if OneShot.used:
            raise RuntimeError("this process is used up")
        OneShot.used = True
        super().setup(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return False


class ZeroBased(Class):
    """Counts its steps from 0."""

    def step(self) -> dict[str, Any]:
        return super().step() | {"training_iteration": self.at - 1}


def unlucky(config: dict[str, Any]) -> None:
    """Checkpoints at step 2 and raises at step 3, as often as its configuration says."""
    first, checkpoint = 1, tune.get_checkpoint()
    if checkpoint is not None:
        first = 3
    for step in range(first, 5):
        attempts = Path(config["attempts"])
        if step == 3:
            with attempts.open("a") as file:
                file.write(".")
            if len(attempts.read_text()) <= config["times"]:
                raise ValueError(f"no luck\n  at step {step}")
        if step != 2:
            tune.report({"loss": loss(0.5, step)})
            continue
        with tempfile.TemporaryDirectory() as folder:
            tune.report({"loss": loss(0.5, 2)}, checkpoint=tune.Checkpoint.from_directory(folder))
