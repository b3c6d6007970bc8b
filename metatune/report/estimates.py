"""Which estimate of random search and of a search without memory a study allows, and why.

In order: random trials of the task itself; the model of past tasks that the study proposed from,
given its trials; a model of the task's own trials, unless past tasks chose them: they are then
good ones nearly all, and say too little of what random ones would have measured.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from metatune.errors import ExperienceWarning, StoreError
from metatune.experience.store import ExperienceStore
from metatune.optimizers.model_record import from_record
from metatune.optimizers.task_surrogate import outcome
from metatune.optimizers.transfer_model import TransferModel
from metatune.report.expected import (
    MOST_SIMULATED,
    RUNS,
    Expected,
    best_of_draws,
    modelled_random,
    modelled_tpe,
)
from metatune.report.known import Known
from metatune.report.past_model import FEWEST_FINITE, PastModel
from metatune.report.task_model import FEWEST_TRIALS, OwnModel, TaskModel
from metatune.trial import derive_seed

# Random trials of the task itself are enough from so many on.
FEWEST_RANDOM = 20
# A model of the task's own trials says something from this rank correlation on.
LEAST_SKILL = 0.3
# Keeps the draws apart from those of the study.
_STREAM = 5


@dataclass(frozen=True)
class Estimate:
    """What is expected, None where the trials do not tell, and in words how it was estimated or
    why it was not."""

    expected: Expected | None
    how: str


@dataclass(frozen=True)
class Estimates:
    """What random search and a search without memory would be expected to give."""

    random: Estimate
    no_memory: Estimate


def read_model(store: ExperienceStore, known: Known) -> TransferModel | None:
    """The model of past tasks that the study proposed from, None if it had none; if it cannot be
    read, None with a warning."""
    study = known.study
    if study.model is None:
        return None
    try:
        return from_record(*store.model(study.space.id, study.model))
    except StoreError as error:
        warnings.warn(f"a model is left out: {error}", ExperienceWarning, stacklevel=2)
        return None


def estimate(known: Known, past: TransferModel | None) -> Estimates:
    """The estimates that a study allows; `past` is the model that it proposed from."""
    count = len(known.finished)
    seed = derive_seed(known.study.seed, _STREAM)
    model, how = _task_model(known, past, seed)
    drawn = [outcome(t) for t in known.of_this_task if t.suggestion.optimizer == "random"]
    if len(drawn) >= FEWEST_RANDOM and np.isfinite(drawn).any():
        said = (
            f"the distribution of the {len(drawn)} trials that were proposed at random on this "
            f"task, and so for no more trials than that"
        )
        random = Estimate(best_of_draws(drawn, min(count, len(drawn))), said)
    elif model is None:
        random = Estimate(None, how)
    else:
        random = Estimate(modelled_random(model, known.study.space, count, seed), how)
    return Estimates(random, _no_memory(known, model, how, seed))


def _no_memory(known: Known, model: TaskModel | None, how: str, seed: int) -> Estimate:
    if not had_memory(known):
        return Estimate(None, "this study was itself searched without memory")
    if model is None:
        return Estimate(None, how)
    expected = modelled_tpe(model, known.study, len(known.finished), seed)
    said = f"the best, middle and worst of {RUNS} runs of Optuna's TPE simulated on {how}"
    if len(known.finished) > MOST_SIMULATED:
        said += f", for the first {MOST_SIMULATED} trials"
    return Estimate(expected, said)


def _task_model(
    known: Known, past: TransferModel | None, seed: int
) -> tuple[TaskModel | None, str]:
    """What configurations might measure on the task and how that is known, or why it is not."""
    own = [trial.inward(known.study.task) for trial in known.finished]
    finite = int(np.isfinite([outcome(trial) for trial in own]).sum())
    if past is not None:
        if finite < FEWEST_FINITE:
            return None, f"that takes {FEWEST_FINITE} trials with a value, and there are {finite}"
        tasks = len(past.surrogates)
        said = (
            f"a model of this task: what {tasks} past task{'s' * (tasks != 1)} and the "
            f"{len(own)} trials of this study tell of any configuration"
        )
        return PastModel(past, known.study, own, seed), said
    if had_memory(known):
        return None, (
            "the trials of this study were chosen by experience, and so say little of what others "
            "would have measured, and no model of past tasks is kept with it"
        )
    trials = known.of_this_task
    finite = int(np.isfinite([outcome(trial) for trial in trials]).sum())
    if finite < FEWEST_TRIALS:
        return None, f"that takes {FEWEST_TRIALS} trials with a value, and there are {finite}"
    model = OwnModel(known.study.space, trials, seed)
    if model.skill < LEAST_SKILL:
        return None, (
            f"a model of the {len(trials)} trials orders those that it has not seen too badly: "
            f"rank correlation {model.skill:.2f}, and {LEAST_SKILL} is asked for"
        )
    return model, (
        f"a model of this task's {len(trials)} trials (rank correlation {model.skill:.2f} with "
        f"trials that it has not seen); where they kept to good configurations, it makes "
        f"random ones look better than they are"
    )


def had_memory(known: Known) -> bool:
    """Whether past tasks had a say in some proposal."""
    return any(trial.suggestion.tasks for trial in known.trials)
