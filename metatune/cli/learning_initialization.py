"""`metatune learn --initialization SPACE`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from metatune.cli import printing
from metatune.errors import InputError
from metatune.experience.store import ExperienceStore
from metatune.space import SearchSpace

if TYPE_CHECKING:
    from metatune.orchestration.initialization_learning import LearnedInitialization


def learn_initialization(
    store: ExperienceStore, space: str, method: str, check: bool, as_json: bool
) -> None:
    """Learn an initialization for each network of a space, keep it, and print what it is worth."""
    from metatune.networks.meta_initialization import METHODS
    from metatune.orchestration.initialization_learning import learn_initializations
    from metatune.orchestration.learning import fit_shown

    known = next((name for name in METHODS if name == method), None)
    if known is None:
        raise InputError(f"method = {method!r} must be one of {list(METHODS)}")
    asked = SearchSpace.load(space)
    with fit_shown(not as_json) as progress:
        results = learn_initializations(store, asked, known, check=check, progress=progress)
    if as_json:
        printing.print_json({"initializations": [_document(one) for one in results]})
        return
    for one in results:
        _print(one)


def _document(found: LearnedInitialization) -> dict[str, Any]:
    document = asdict(found)
    for task in document["check"]:
        for name in ("learned_epochs", "default_loss", "learned_loss"):
            task[name] = task[name] if math.isfinite(task[name]) else None
    return document


def _print(found: LearnedInitialization) -> None:
    architecture = ", ".join(f"{name} {value}" for name, value in found.architecture.items())
    printing.OUT.print(
        f"initialization {found.id} of {found.network}, learned on {len(found.tasks)} tasks "
        f"({', '.join(found.tasks)}) as {architecture}",
        highlight=False,
    )
    for task, reason in found.left_out.items():
        printing.ERR.print(f"left out: {task}: {reason}", markup=False, highlight=False)
    if found.check:
        table = Table(
            Column("task left out", overflow="fold"),
            Column("epochs to the default's best", justify="right"),
            Column("of the default", justify="right"),
            Column("best validation loss", justify="right"),
            Column("of the default", justify="right"),
            caption="medians over seeds, learned on the other tasks",
        )
        for one in found.check:
            table.add_row(
                one.task,
                f"{one.learned_epochs:g}" if math.isfinite(one.learned_epochs) else "never",
                f"{one.default_epochs:g}",
                f"{one.learned_loss:.4g}",
                f"{one.default_loss:.4g}",
            )
        printing.OUT.print(table)
    printing.OUT.print(
        'in a search space: [initializer] choices = [..., "learned"]', highlight=False
    )
