"""All networks as one population in one Ray Tune trial. Workers import no more than this."""

from __future__ import annotations

from typing import Any

from ray import tune

from metatune.networks.data.dataset import Dataset
from metatune.networks.population import Member, Population


def population_trial(config: dict[str, Any], dataset: Dataset) -> None:
    """A network for each of `config["learning_rates"]`, and else of `config["settings"]`."""
    epochs = config["epochs"]
    population = Population(dataset, epochs=epochs)
    for number, rate in enumerate(config["learning_rates"]):
        population.enter(Member(number, {**config["settings"], "learning_rate": rate}, number))
    for epoch in range(1, epochs + 1):
        losses = [scores["validation_loss"] for scores in population.step().values()]
        if config["reports"] or epoch == epochs:
            tune.report({"loss": min(losses), "losses": losses})
