"""`metatune learn`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from metatune.cli import printing
from metatune.cli.learning_choices import learn_choices
from metatune.cli.learning_initialization import learn_initialization
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.errors import InputError
from metatune.experience.starter import is_starter, starter_part, starter_store
from metatune.experience.store import ExperienceStore
from metatune.space import SearchSpace

if TYPE_CHECKING:
    from metatune.optimizers.held_out import HeldOut


def learn(
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space", help="Search space: a file, or a shipped one; by default every one."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Leave each past task out in turn; takes longer than learning.")
    ] = True,
    starter: Annotated[
        bool,
        typer.Option(
            help="For built-in networks, also learn from the experience that comes along."
        ),
    ] = True,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss",
            metavar="NAME",
            help="Learn a loss across the tasks instead, to be a choice of `loss` of this name.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", metavar="NAME", help="The same with a learning-rate schedule."),
    ] = None,
    initialization: Annotated[
        str | None,
        typer.Option(
            "--initialization",
            metavar="SPACE",
            help='Learn initial weights for the networks of a space instead, to be "learned" among '
            "the choices of `initializer`.",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="How --initialization learns: fomaml or reptile.")
    ] = "fomaml",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Fit the learned meta-optimizer to everything the store knows.

    A search does so by itself when it must. Learning ahead saves it that time, uses all
    there is by now, and says what it is worth: of each space up to 12 past tasks are left
    out in turn. What is learned from the others proposes among the trials of the task left
    out; so do a Gaussian process alone, without memory, and random order. Regret tells
    how far the best found is from the best there is: 0 is that, 1 the median. A task is
    harmed where learning is behind one of the other two on average.

      metatune learn

      metatune learn --space mlp --no-check

      metatune learn --loss ours --schedule ours

      metatune learn --initialization mlp
    """
    kept = ExperienceStore(store)
    chooses = loss is not None or schedule is not None
    if chooses and initialization is not None:
        raise InputError("--initialization goes without --loss and --schedule: learn one by one")
    if chooses:
        learn_choices(kept, {"loss": loss, "schedule": schedule}, as_json)
    if initialization is not None:
        learn_initialization(kept, initialization, method, check, as_json)
    if not (loss is None and schedule is None and initialization is None):
        return
    results = [
        found
        for one in _spaces(kept, space, starter)
        if (found := _learn(kept, one, starter, check, as_json))
    ]
    if not results:
        raise InputError(
            f"the store {kept.uri} has no past task to learn from, which takes three finished "
            f"trials; run a search first"
        )
    if as_json:
        printing.print_json({"models": results})


def _spaces(store: ExperienceStore, names: list[str] | None, starter: bool) -> list[SearchSpace]:
    """Every space in the store; of the spaces by name only these, and what searches have narrowed
    them to, with `starter` those that come with metatune."""
    known = {study.space.id: study.space for study in store.studies()}
    if not names:
        return list(known.values())
    if starter:
        known |= {study.space.id: study.space for study in starter_store().studies()}
    chosen: dict[str, SearchSpace] = {}
    for name in names:
        asked = SearchSpace.load(name)
        narrowed = [s for s in known.values() if set(s.names) <= set(asked.names)]
        chosen |= {one.id: one for one in narrowed or [asked]}
    return list(chosen.values())


def _learn(
    store: ExperienceStore, space: SearchSpace, starter: bool, check: bool, as_json: bool
) -> dict[str, Any] | None:
    """Learn for one space and print what it is worth; None where there is nothing to learn."""
    from metatune.optimizers.held_out import leave_out
    from metatune.orchestration.learning import (
        FIT_SEED,
        StoreMemory,
        fit_shown,
        known_experience,
        learn_model,
    )

    uses = starter and _is_of_built_in(store, space)
    experience = known_experience(store, space, starter=uses)
    with fit_shown(not as_json) as progress:
        memory = StoreMemory(store, space, experience, progress=progress)
        past = memory.sample()
        learned = learn_model(memory, past)
        if learned is None:
            return None
        name, model = learned
        # What comes along is learned from and not left out: much of it is derived from the same.
        own = [task for task in past if not is_starter(task)]
        held_out = leave_out(model, own, FIT_SEED, progress) if check else []
    result = {
        "space": space.id,
        "parameters": space.names,
        "model": name,
        "past_tasks": len(model.surrogates),
        "trials": sum(experience.values()),
        "starter_trials": sum(starter_part(experience).values()),
        "held_out": [asdict(one) | {"verdict": one.verdict} for one in held_out],
        "harmed": sum(one.verdict == "harmed" for one in held_out),
    }
    if not as_json:
        _print(result, held_out, check)
    return result


def _is_of_built_in(store: ExperienceStore, space: SearchSpace) -> bool:
    """Whether the studies of exactly this space all trained built-in networks."""
    return all("data" in s.training for s in store.studies() if s.space.id == space.id)


def _print(result: dict[str, Any], held_out: list[HeldOut], check: bool) -> None:
    count = len(result["parameters"])
    along = f", {result['starter_trials']} of them came along" if result["starter_trials"] else ""
    printing.OUT.print(
        f"space {result['space']} ({count} parameters): learned from {result['past_tasks']} past "
        f"tasks, {result['trials']} trials{along}; model {result['model']}",
        highlight=False,
    )
    if not held_out:
        if check:
            printing.OUT.print("not checked: that takes two past tasks in this space")
        return
    proposals = max((one.proposals for one in held_out), key=len)
    heads = ["left out", "trials", "regret", *(f"after {count}" for count in proposals), ""]
    table = Table(*(Column(head, overflow="fold") for head in heads), show_lines=True)
    ways = "learned\nalone\nrandom"
    for one in held_out:
        regrets = zip(one.learned, one.alone, one.random, strict=True)
        cells = ["\n".join(f"{regret:.3f}" for regret in three) for three in regrets]
        cells += [""] * (len(proposals) - len(cells))
        table.add_row(one.task, str(one.candidates), ways, *cells, one.verdict)
    printing.OUT.print(table)
    harmed, of = result["harmed"], len(held_out)
    printing.OUT.print(f"harmed: {harmed} of {of} tasks ({harmed / of:.0%})", style="bold")
