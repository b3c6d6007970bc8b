"""Opening a study: new, or as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version

from metatune.experience.past import PastTask
from metatune.experience.store import ExperienceStore
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.pruning import Pruner
from metatune.orchestration.problem import Problem
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.trial import Trial

MakeOptimizer = Callable[[SearchSpace, Sequence[PastTask]], MetaOptimizer]
_PACKAGES = ("metatune", "ray", "optuna", "torch", "numpy", "scikit-learn")


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
    pruner: Pruner,
) -> tuple[Study, MetaOptimizer]:
    """The study `name` with its `known` trials, and what proposes in it; nothing is recorded.

    A new study knows all the experience there is at this moment; one that has trials goes on with
    what it knew when it began. Raises StudyError if it has trials made with other settings.
    """
    before = store.find_study(name) if known else None
    if not memory:
        experience = {}
    elif before is not None:
        experience = dict(before.experience)
    else:
        experience = store.cutoff(without=[name])
    past = store.past_tasks(problem.space, experience) if experience else []
    meta = optimizer(problem.space, past) if callable(optimizer) else optimizer
    study = Study(
        name=name,
        task=problem.task,
        space=problem.space,
        seed=seed,
        trials=trials,
        optimizer=str(meta),
        pruner=str(pruner),
        experience=experience,
        training=problem.training,
        versions=before.versions if before else {p: version(p) for p in _PACKAGES},
    )
    if before is not None:
        before.check_same(study)
    return study, meta


def record_study(store: ExperienceStore, study: Study, known: Sequence[Trial]) -> None:
    """Put a study into the store that is new or has grown; one without trials is replaced."""
    before = store.find_study(study.name) if known else None
    if before is None or before.trials < study.trials:
        store.put_study(study)
