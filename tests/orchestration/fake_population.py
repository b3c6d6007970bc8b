"""A population whose members are formulas: what orchestration needs of one, and no training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from metatune.errors import ConfigurationError, DamagedFileError
from metatune.networks.population import Member


def loss(config: Any, seed: int, epoch: int) -> float:
    """A curve of its own for each configuration and seed; NaN from the third epoch where the
    learning rate says so."""
    x = config["learning_rate"]
    if x > 0.95 and epoch >= 3:
        return math.nan
    return float((x - 0.3) ** 2 + (1 + seed % 7) / (9 + epoch))


class FakePopulation:
    """See metatune.networks.population.Population. A learning rate below 0.02 does not fit."""

    def __init__(
        self,
        dataset: Any,
        *,
        epochs: int,
        threads: int = 1,
        device: str = "cpu",
        at_once: int | None = None,
        compiled: bool = False,
        learned: Any = None,
    ) -> None:
        self.at_once, self.compiled = at_once, compiled
        self._members: dict[int, Member] = {}
        self._epochs: dict[int, int] = {}

    @property
    def numbers(self) -> list[int]:
        return list(self._members)

    def config(self, number: int) -> Any:
        return self._members[number].config

    def epoch(self, number: int) -> int:
        return self._epochs[number]

    def enter(self, member: Member, epoch: int = 0) -> None:
        rate = member.config["learning_rate"]
        if not isinstance(rate, float) or rate < 0.02:
            raise ConfigurationError(f"configuration: learning_rate = {rate!r} does not fit")
        for other in self._members.values():
            if other.config["width"] != member.config["width"]:
                raise ConfigurationError("configuration: width differs")
        self._members[member.number], self._epochs[member.number] = member, epoch

    def resume(self, member: Member, folder: str) -> None:
        try:
            epochs = json.loads(Path(folder, "epochs.json").read_text())
        except FileNotFoundError as error:
            raise DamagedFileError(f"{folder}: cannot be read") from error
        self.enter(member, epochs[str(member.number)])

    def copy(self, source: int, target: Member) -> None:
        self._members[target.number] = target
        self._epochs[target.number] = self._epochs[source]

    def step(self) -> dict[int, dict[str, float]]:
        self.at_once = self.at_once or 4
        scores = {}
        for number, member in self._members.items():
            self._epochs[number] += 1
            value = loss(member.config, member.seed, self._epochs[number])
            scores[number] = {"validation_loss": value}
        return scores

    def leave(self, number: int) -> None:
        del self._members[number], self._epochs[number]

    def save(self, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        Path(folder, "epochs.json").write_text(json.dumps(self._epochs))
