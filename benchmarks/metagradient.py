"""What do hypergradients cost, are they right, and what does refining by them gain?

Hypergradients of populations and the online schedule against plain training of the same networks;
hypergradients against finite differences; and proposals with learning rates a hundred times too
high or too low, refined, against the best of a grid of learning rates, no refinement, the online
schedule, and random restarts with local perturbation at equal cost.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from metagradient_benchmark.agreement import agreement_rows
from metagradient_benchmark.cost import NETWORKS, cost_rows
from metagradient_benchmark.recovery import RULES, TASKS, Setting, recovery_rows
from results import Row, arguments, finish
from rich.progress import track


def main() -> None:
    """Print the table."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    rows: list[Row] = []
    loads = [(name, count) for name in NETWORKS for count in (16, 64)][:-1]
    for name, count in track(loads[:2] if options.quick else loads, "cost"):
        rows += cost_rows(name, count, 3 if options.quick else 7)
    rows += agreement_rows()
    decades: Sequence[float] = [exponent / 2 for exponent in range(-8, 1)]
    settings = [Setting(task, rule, 5, 20) for task in TASKS for rule in RULES]
    if options.quick:
        decades = (-3.0, -2.0, -1.0)
        settings = [Setting(task, "adamw", 2, 10) for task in TASKS]
    for setting in track(settings, "recovery"):
        rows += recovery_rows(setting, decades)
    finish(rows, "metagradient", options.json)


if __name__ == "__main__":
    main()
