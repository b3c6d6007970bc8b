"""Opening a study: new, or as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from metatune.errors import InputError, StudyError
from metatune.experience.starter import starter_part
from metatune.experience.store import ExperienceStore
from metatune.optimizers.memory import Memory
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.pruning import Pruner, default_pruner
from metatune.optimizers.transfer_model import Progress
from metatune.orchestration.learning import StoreMemory, known_experience
from metatune.orchestration.problem import Problem
from metatune.study import Study
from metatune.trial import Trial

MakeOptimizer = Callable[[Memory], MetaOptimizer]
# Whose versions a study records.
PACKAGES = ("metatune", "ray", "optuna", "torch", "numpy", "scikit-learn")


def open_study(
    store: ExperienceStore,
    problem: Problem,
    name: str,
    known: Sequence[Trial],
    *,
    trials: int,
    seed: int,
    optimizer: MetaOptimizer | MakeOptimizer,
    memory: bool,
    pruner: Pruner | None,
    starter: bool = False,
    progress: Progress = lambda what, done, of: None,
) -> tuple[Study, MetaOptimizer, Pruner]:
    """The study `name` with its `known` trials, what proposes in it and what stops its trials, by
    default as `default_pruner` says; nothing is recorded, but a model that had to be fitted.

    A new study knows all the experience there is at this moment, with `starter` also that which
    comes with metatune, if built-in networks are trained and the optimizer is made of memory; one
    that has trials goes on with what it knew when it began. Raises StudyError if it has trials
    made with other settings, and StoreError if the model that it began with is gone.
    """
    before = store.find_study(name) if known else None
    if not memory:
        experience = {}
    elif before is not None:
        experience = dict(before.experience)
        if starter_part(experience) and not starter:
            raise StudyError(
                f"study {name!r} was started with the experience that comes with metatune, and "
                f"cannot go on without; leave out --no-starter, or give another name with --study"
            )
    else:
        uses = starter and problem.dataset is not None and callable(optimizer)
        experience = known_experience(store, problem.space, [name], uses)
    if before is not None:
        aliases = dict(before.aliases)
    else:
        aliases = store.other_names(problem.space, experience) if experience else {}
    remembered = StoreMemory(
        store, problem.space, experience, before, aliases=aliases, progress=progress
    )
    meta = optimizer(remembered) if callable(optimizer) else optimizer
    stops = pruner or _usual_pruner(problem, remembered.used is not None, before)
    study = Study(
        name=name,
        task=problem.task,
        space=problem.space,
        seed=seed,
        trials=trials,
        optimizer=str(meta),
        pruner=str(stops),
        experience=experience,
        aliases=aliases,
        model=remembered.used,
        training=problem.training,
        versions=before.versions if before else {p: version(p) for p in PACKAGES},
    )
    if before is not None:
        before.check_same(study)
        if before.model != study.model:
            raise StudyError(
                f"study {name!r} was started with what earlier studies learned, and cannot go on "
                f"without; leave memory on, or give another name with --study"
            )
    return study, meta, stops


def _usual_pruner(problem: Problem, learned: bool, before: Study | None) -> Pruner:
    """The default one; of a study that began with the other, that."""
    usual, other = (default_pruner(problem.max_steps, by) for by in (learned, not learned))
    return other if before is not None and before.pruner == str(other) else usual


def population_size(
    store: ExperienceStore,
    problem: Problem,
    name: str,
    known: Sequence[Trial],
    asked: int | None,
) -> int:
    """How many networks the study `name` trains as one program: as when it began; else as `asked`,
    1 by default.

    Raises InputError where the trainable is the user's, and StudyError where the study has trials
    made with another number.
    """
    if problem.dataset is None:
        if asked not in (None, 1):
            raise InputError(
                f"population = {asked}: a trainable of your own trains one trial at a time; leave "
                f"it out"
            )
        return 1
    before = store.find_study(name) if known else None
    if before is None:
        return 1 if asked is None else asked
    began = int(before.training.get("population", 1))
    if asked not in (None, began):
        raise StudyError(
            f"study {name!r} was started with population = {began}, not {asked}; ask for the same "
            f"again, or give another name with --study"
        )
    return began


def record_study(store: ExperienceStore, study: Study, known: Sequence[Trial]) -> None:
    """Put a study into the store that is new or has grown; one without trials is replaced."""
    before = store.find_study(study.name) if known else None
    if before is None or before.trials < study.trials:
        store.put_study(study)
