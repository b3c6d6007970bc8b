"""Learning a loss or a schedule across the tasks of a store.

On each task the best configuration found so far is trained with candidates of the setting in the
place of its own, all of them as one population. What is minimised is the mean over tasks and seeds
of log(validation loss with the candidate / with what the configuration had), each between a half
and twice, and losses no less than 0.01: a small task that a candidate predicts without any error
must not outweigh all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metatune.errors import InputError, MetatuneError
from metatune.experience.store import ExperienceStore
from metatune.networks.data.dataset import Dataset
from metatune.networks.data.loading import load
from metatune.networks.data.task_metric import LOSS
from metatune.networks.learned import Learned
from metatune.networks.losses import COEFFICIENTS
from metatune.networks.own_code import own_names
from metatune.networks.population import Member, Population
from metatune.networks.schedules import POINTS
from metatune.networks.settings import Settings
from metatune.optimizers.optuna_samplers import TPE
from metatune.optimizers.transfer_model import Progress
from metatune.orchestration.learned_choices import BUILT_IN, SETTINGS, Choice, Kind
from metatune.parameters import Float
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Report, Task
from metatune.trial import Suggestion, Trial, TrialState, best_trial

Array = npt.NDArray[np.float64]

_LEAST, _MOST = 0.01, math.log(2.0)  # of losses, and of the log of a change

_SPACES: Mapping[Kind, SearchSpace] = {
    "loss": SearchSpace(
        {
            "label_smoothing": Float(0.0, 0.3),
            "focal_gamma": Float(0.0, 3.0),
            "temperature": Float(0.5, 2.0, log=True),
            "poly_1": Float(-0.9, 4.0),
            "poly_2": Float(-0.9, 4.0),
            "class_weighting": Float(0.0, 1.0),
        }
    ),
    "schedule": SearchSpace({name: Float(1e-3, 3.0, log=True) for name in POINTS}),
}
_GENERAL: Mapping[Kind, str] = {"loss": "parametric", "schedule": "piecewise"}
_NEUTRAL: Mapping[Kind, Config] = {
    "loss": {name: neutral for name, (_, _, neutral) in COEFFICIENTS.items()},
    "schedule": dict.fromkeys(POINTS, 1.0),
}
# Settings of other choices, which a configuration loses with them.
_OWN: Mapping[Kind, tuple[str, ...]] = {
    "loss": (*COEFFICIENTS, "huber_delta"),
    "schedule": (
        *POINTS,
        "step_factor",
        "step_count",
        "final_fraction",
        "warmup_fraction",
        "peak_fraction",
        "hypergradient_rate",
    ),
}


@dataclass(frozen=True)
class LearnedChoice:
    """What was learned, and what it is worth: for each task the factor by which the loss on the
    validation rows changes, on average over seeds, with the choice, and with the one that is best
    on the other tasks (None with a single task)."""

    choice: Choice
    candidates: int
    factors: Mapping[str, float]
    left_out: Mapping[str, float] | None


@dataclass(frozen=True)
class _Base:
    """The best configuration of a task, and what it takes to train it."""

    task: str
    dataset: Dataset
    config: Config
    epochs: int
    learned: Learned


def learn_choice(
    store: ExperienceStore,
    kind: Kind,
    name: str,
    *,
    rounds: int = 4,
    batch: int = 12,
    seeds: int = 2,
    seed: int = 0,
    progress: Progress = lambda what, done, of: None,
) -> LearnedChoice:
    """Learn a `loss` or a `schedule` from the tasks of a store whose data can be loaded again.

    `rounds` times `batch` candidates are tried, the first of which changes nothing; each is
    trained from so many `seeds` on every task. Raises InputError for a name that cannot be used
    and where there is no such task.
    """
    check_name(kind, name)
    bases = _bases(store, kind)
    if not bases:
        what = "classification task" if kind == "loss" else "task"
        raise InputError(
            f"the store {store.uri} has no {what} of the built-in networks whose data can be "
            f"loaded again, and which a trial ended on; run a search first"
        )
    before = np.array([_own_losses(base, seeds, seed) for base in bases])
    study = Study(f"learn-{kind}", Task(kind), _SPACES[kind], seed)
    trials: list[Trial] = []
    table = np.zeros((0, len(bases)))
    for done in range(rounds):
        configs = _proposals(study, trials, batch, _NEUTRAL[kind] if done == 0 else None)
        columns: list[Array] = []
        for base, own in zip(bases, before, strict=True):
            progress(f"{kind} {name}", done * len(bases) + len(columns), rounds * len(bases))
            changes = _losses(base, kind, configs, seeds, seed) - own
            columns.append(changes.clip(-_MOST, _MOST).mean(axis=1))
        values = np.stack(columns, axis=1)
        table = np.concatenate([table, values])
        for config, value in zip(configs, values.mean(axis=1), strict=True):
            trials.append(_trial(study, len(trials), config, float(value)))
    progress(f"{kind} {name}", rounds * len(bases), rounds * len(bases))
    best = int(table.mean(axis=1).argmin())
    tasks = [base.task for base in bases]
    settings = Settings(trials[best].config)
    values_of = {key: settings.number(key) for key in SETTINGS[kind]}
    record = {"tasks": tasks, "candidates": len(trials), "seeds": seeds, "seed": seed}
    return LearnedChoice(
        Choice(kind, name, values_of, record),
        len(trials),
        dict(zip(tasks, np.exp(table[best]).tolist(), strict=True)),
        _left_out(table, tasks),
    )


def check_name(kind: Kind, name: str) -> None:
    """Raise InputError for what cannot be the name of a learned choice."""
    if name in BUILT_IN[kind] or not name.isidentifier():
        raise InputError(
            f"--{kind} {name!r} must be a name of letters, digits and underscores, and none of the "
            f"built-in {list(BUILT_IN[kind])}"
        )


def _left_out(table: Array, tasks: Sequence[str]) -> dict[str, float] | None:
    """For each task the factor of the candidate that is best on the others; [candidates, tasks]."""
    if len(tasks) < 2:
        return None
    factors = {}
    for index, task in enumerate(tasks):
        others = np.delete(table, index, axis=1).mean(axis=1)
        factors[task] = float(np.exp(table[others.argmin(), index]))
    return factors


def _proposals(
    study: Study, trials: Sequence[Trial], count: int, first: Config | None
) -> list[Config]:
    known = [] if first is None else [first]
    sampler = TPE()
    return known + [
        suggestion.config
        for suggestion in sampler.suggest(study, trials, count - len(known), study.seed)
    ]


def _trial(study: Study, number: int, config: Config, value: float) -> Trial:
    return Trial(
        study.name,
        number,
        Suggestion(config, "learn"),
        study.seed,
        state=TrialState.COMPLETE,
        curve=(Report(1, value, 0.0),),
        value=value,
        finished_index=number,
    )


def _bases(store: ExperienceStore, kind: Kind) -> list[_Base]:
    """The tasks of a store that built-in networks were trained on, by name."""
    best: dict[str, _Base] = {}
    values: dict[str, float] = {}
    for study in store.studies():
        if "data" not in study.training or study.task.metric != LOSS:
            continue
        trials = [trial for trial in store.trials(study=study.name) if _is_plain(trial.config)]
        trial = best_trial(study.task, trials)
        if trial is None or trial.value is None:
            continue
        value = trial.inward(study.task).value
        known = values.get(study.task.data_hash)
        if value is None or (known is not None and known <= value):
            continue
        try:
            dataset = load(study.training["data"], study.training.get("target"))
        except MetatuneError:
            continue  # moved or changed since
        if kind == "loss" and dataset.kind != "classification":
            continue
        if kind not in trial.config or dataset.data_hash != study.task.data_hash:
            continue
        values[study.task.data_hash] = value
        best[study.task.data_hash] = _Base(
            study.task.name,
            dataset,
            dict(trial.config),
            study.training["epochs"],
            Learned.of(study.training),
        )
    return sorted(best.values(), key=lambda base: base.task)


def _is_plain(config: Config) -> bool:
    """Whether training it needs neither code of somebody's nor weights of other tasks."""
    return not own_names(config) and config.get("initializer") != "learned"


def _own_losses(base: _Base, seeds: int, seed: int) -> Array:
    """Log of the best validation loss of the configuration as it is: [seeds]."""
    own: Array = _trained(base, [base.config], seeds, seed)[0]
    return own


def _losses(base: _Base, kind: Kind, configs: Sequence[Config], seeds: int, seed: int) -> Array:
    """The same with candidates in the place of its own: [candidates, seeds]."""
    kept = {k: v for k, v in base.config.items() if k not in _OWN[kind]}
    return _trained(base, [{**kept, kind: _GENERAL[kind], **own} for own in configs], seeds, seed)


def _trained(base: _Base, configs: Sequence[Config], seeds: int, seed: int) -> Array:
    """Log of the best validation loss of each: [configs, seeds]; one that diverges counts as one
    that is worse than guessing."""
    fused = Population(base.dataset, epochs=base.epochs, learned=base.learned)
    for number in range(len(configs) * seeds):
        fused.enter(Member(number, configs[number // seeds], seed + number % seeds))
    best = np.full(len(configs) * seeds, math.inf)
    for _ in range(base.epochs):
        for number, scores in fused.step().items():
            best[number] = np.fmin(best[number], scores["validation_loss"])
    worst = math.log(max(2, base.dataset.outputs)) + 1.0
    losses: Array = np.log(np.clip(best, _LEAST, worst))
    return losses.reshape(len(configs), seeds)
