"""A study as one of Optuna's, in any of its storages or as a journal file."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from metatune.errors import InputError, StudyError
from metatune.optimizers.optuna_history import quiet
from metatune.parameters import Categorical, Float, Parameter, Value
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Trial, TrialState

# No clock is recorded: trials are told as having run one after another, from here on.
_BEGIN = 946_684_800.0  # 2000-01-01 00:00 UTC, in seconds since 1970
_STATES = {
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.UNKNOWN: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
_WRITER = "metatune"  # stands in each line of a journal for the process that wrote it


def as_optuna_study(
    study: Study, trials: Sequence[Trial], storage: BaseStorage | None = None
) -> optuna.Study:
    """Optuna's study of the same name with all of `trials`, by number, in memory or in `storage`.

    Values and curves stand as recorded, in the metric's own sense. UNKNOWN trials are PRUNED, and
    COMPLETE ones without a finite value FAIL. RUNNING ones stay RUNNING. Inactive parameters are
    absent. Choices that Python holds equal, such as True and 1, are told as text, since Optuna
    cannot tell them apart. What a trial has outside the space stands in its attribute `outside`.

    User attributes of a trial say where it came from (`optimizer`, `past_tasks` and their weights,
    `predicted` in the metric's own sense and its `uncertainty`, `guarded`) and how it went
    (`number`, `state` by its own name, `seconds`, `seed`, `error`, `training`, and the `value` of
    one that Optuna holds to have none). Times are not recorded: trials follow one another in
    the order in which they ended, each as long as it trained. Raises StudyError if the storage has
    a study of that name.
    """
    kept = storage or InMemoryStorage()
    with quiet("optuna"):
        try:
            made = optuna.create_study(
                storage=kept, study_name=study.name, direction=study.task.direction
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise StudyError(f"the storage has a study {study.name!r} already") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made.set_metric_names([study.task.metric])
        for key, value in _study_attributes(study).items():
            made.set_user_attr(key, value)
        space = {name: _distribution(p) for name, p in study.space.parameters.items()}
        spans = _spans(trials)
        for trial in sorted(trials, key=lambda t: t.number):
            made.add_trial(_frozen(study, space, trial, spans[trial.number]))
    return made


def to_text(study: Study, trials: Sequence[Trial]) -> str:
    """`as_optuna_study` as the text of a journal file; the same trials make the same text."""
    journal = _Journal()
    as_optuna_study(study, trials, JournalStorage(journal))
    logs = [log | {"worker_id": _WRITER} for log in journal.logs]
    return "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)


def check_replaceable(path: Path) -> None:
    """Raise InputError if there is a file that `to_text` did not write, or that Optuna has added
    to since: it may hold other studies."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError):
        lines = [""]
    if not all(f'"worker_id":"{_WRITER}"' in line for line in lines):
        raise InputError(
            f"{path}: there is a file already, which metatune did not write or Optuna added to; "
            f"give another name"
        )


class _Journal(BaseJournalBackend):
    """A journal in memory: Optuna's own file is synced once for every line."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The lines from a number on, as a file would give them back."""
        return [json.loads(json.dumps(log)) for log in self.logs[log_number_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep more lines."""
        self.logs += logs


def _study_attributes(study: Study) -> dict[str, Any]:
    """What `study` says beside its name and direction."""
    task = study.task
    attributes = {
        "task": task.name,
        "metric": task.metric,
        "measure": task.measure,
        "data_hash": task.data_hash,
        "metafeatures": dict(task.metafeatures),
        "space": study.space.to_dict(),
        "seed": study.seed,
        "trials": study.trials,
        "optimizer": study.optimizer,
        "pruner": study.pruner,
        "experience": dict(study.experience),
        "versions": dict(study.versions),
    }
    return {key: value for key, value in attributes.items() if value not in ("", {})}


def _distribution(parameter: Parameter) -> BaseDistribution:
    """The parameter in Optuna's words, with the values that the trials have."""
    if isinstance(parameter, Categorical):
        return CategoricalDistribution([_choice(parameter, c) for c in parameter.choices])
    kind = FloatDistribution if isinstance(parameter, Float) else IntDistribution
    return kind(parameter.low, parameter.high, log=parameter.log)  # type: ignore[arg-type]


def _choice(parameter: Categorical, value: Value) -> Value:
    """`value`, or its text where some choices are equal in Python."""
    distinct = len(set(parameter.choices)) == len(parameter.choices)
    return value if distinct else repr(value)


def _spans(trials: Sequence[Trial]) -> dict[int, tuple[datetime, datetime]]:
    """When each trial, by number, began and ended, had they run one after another in the order in
    which they ended; in local time without a zone, as Optuna has it."""
    spans, now = {}, _BEGIN
    for trial in sorted(trials, key=_ending):
        end = now + (max(trial.cost, 0.0) if math.isfinite(trial.cost) else 0.0)
        spans[trial.number] = (datetime.fromtimestamp(now), datetime.fromtimestamp(end))
        if trial.state.finished:
            now = end
    return spans


def _ending(trial: Trial) -> tuple[bool, float, int]:
    index = math.inf if trial.finished_index is None else trial.finished_index
    return not trial.state.finished, index, trial.number


def _frozen(
    study: Study,
    space: Mapping[str, BaseDistribution],
    trial: Trial,
    span: tuple[datetime, datetime],
) -> FrozenTrial:
    params: dict[str, Value] = {}
    outside: dict[str, Value] = {}
    for name, value in trial.config.items():
        parameter = study.space.parameters.get(name)
        if parameter is None or not parameter.contains(value):
            outside[name] = value
        elif isinstance(parameter, Categorical):
            params[name] = _choice(parameter, value)
        else:
            params[name] = value
    state = _state(trial)
    value = trial.value if _is_finite(trial.value) else None
    has_value = state in (OptunaState.COMPLETE, OptunaState.PRUNED)
    attributes = _attributes(study.task, trial) | ({"outside": outside} if outside else {})
    if value is not None and not has_value:
        attributes["value"] = value
    return FrozenTrial(
        number=trial.number,
        trial_id=-1,  # the storage gives one
        state=state,
        value=value if has_value else None,
        params=params,
        distributions={name: space[name] for name in params},
        intermediate_values={report.step: report.value for report in trial.curve},
        datetime_start=span[0],
        datetime_complete=span[1] if state.is_finished() else None,
        user_attrs=attributes,
        system_attrs={},
    )


def _state(trial: Trial) -> OptunaState:
    if trial.state is TrialState.COMPLETE and not _is_finite(trial.value):
        return OptunaState.FAIL
    return _STATES[trial.state]


def _attributes(task: Task, trial: Trial) -> dict[str, Any]:
    """Where a trial came from and how it went; what is not known is left out."""
    suggestion = trial.suggestion
    predicted = suggestion.predicted
    attributes = {
        "number": trial.number,
        "state": str(trial.state),
        "optimizer": suggestion.optimizer,
        "past_tasks": dict(suggestion.tasks) or None,
        "predicted": task.flip(predicted) if predicted is not None else None,
        "uncertainty": suggestion.uncertainty,
        "guarded": suggestion.guarded or None,
        "seconds": trial.cost,
        "seed": trial.seed,
        "population": trial.population,
        "error": trial.error,
        "training": dict(trial.training) or None,
    }
    return {key: value for key, value in attributes.items() if value is not None}


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
