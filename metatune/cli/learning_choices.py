"""`metatune learn --loss NAME` and `--schedule NAME`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Column, Table

from metatune.cli import printing
from metatune.experience.store import ExperienceStore

if TYPE_CHECKING:
    from metatune.orchestration.choice_learning import LearnedChoice
    from metatune.orchestration.learned_choices import Kind


def learn_choices(store: ExperienceStore, asked: dict[Kind, str | None], as_json: bool) -> None:
    """Learn a choice of each kind that a name is given for, keep it, and print what it is worth."""
    from metatune.orchestration.choice_learning import check_name, learn_choice
    from metatune.orchestration.learned_choices import put_choice
    from metatune.orchestration.learning import fit_shown

    names = {kind: name for kind, name in asked.items() if name is not None}
    for kind, name in names.items():
        check_name(kind, name)
    results = []
    for kind, name in names.items():
        with fit_shown(not as_json) as progress:
            found = learn_choice(store, kind, name, progress=progress)
        put_choice(store, found.choice)
        results.append(asdict(found))
        if not as_json:
            _print(found)
    if as_json:
        printing.print_json({"choices": results})


def _print(found: LearnedChoice) -> None:
    kind, name = found.choice.kind, found.choice.name
    values = ", ".join(f"{key} {value:.3g}" for key, value in found.choice.values.items())
    printing.OUT.print(f"{kind} {name!r}: {values}", highlight=False)
    table = Table(
        Column("task", overflow="fold"),
        Column("loss on validation rows, times", justify="right"),
        Column("learned without it, times", justify="right"),
        caption=f"best of {found.candidates} candidates; 1 is what the best configuration of the "
        f"task has with its own {kind}, below 1 is better",
    )
    for task, factor in found.factors.items():
        left_out = "" if found.left_out is None else f"{found.left_out[task]:.3f}"
        table.add_row(task, f"{factor:.3f}", left_out)
    printing.OUT.print(table)
    printing.OUT.print(f'in a search space: [{kind}] choices = [..., "{name}"]', highlight=False)
