"""Epochs of a population that chooses for itself how many are computed as one."""

from __future__ import annotations

from results import Row

from metatune.networks.population import Member, Population
from population_benchmark.cases import Case, PlainLoop, cpu_seconds, dataset, median_pair
from population_benchmark.steps import DEFAULT

EPOCHS = 20
_PLAIN_NETWORKS = 4


def chosen_rows(case: Case, members: int, batches: int, repetitions: int) -> list[Row]:
    """Epochs of a member per CPU second on one thread, validation on one batch included, and how
    many members are computed as one."""
    data = dataset(case.shape, batches)
    population = Population(data, epochs=EPOCHS)
    for number in range(members):
        population.enter(Member(number, case.config, number))
    population.step()
    plain = PlainLoop(case, data, _PLAIN_NETWORKS)

    def epoch() -> None:
        plain.train(batches)
        plain.validate()

    epoch()
    pairs = []
    for _ in range(repetitions):
        ours = members / cpu_seconds(population.step)
        pairs.append((ours, plain.count / cpu_seconds(epoch)))
    pair = median_pair(pairs)
    name = f"{case}, {members} members" + (", compiled" if population.compiled else "")
    at_once = float(population.at_once or 1)
    return [
        Row(name, "auto_member_epochs_per_cpu_second", pair[0], DEFAULT, pair[1]),
        Row(name, "members_computed_as_one", at_once, "members", float(members)),
    ]
