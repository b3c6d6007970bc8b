"""Optuna's trials as trials of ours."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from metatune.optuna_plugin.distributions import to_value
from metatune.space import Config
from metatune.task import Direction
from metatune.trial import Report, Suggestion, Trial, TrialState

STATES = {
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.PRUNED: TrialState.PRUNED,
    OptunaState.FAIL: TrialState.FAILED,
}
_FAILED = "failed in Optuna, which does not keep why"
_PLAN = "metatune:plan"
_METRIC_NAMES = "study:metric_names"  # Optuna's key
# A relational database holds no longer text in one attribute.
_PIECE = 2045


def metric_of(study: optuna.Study) -> str:
    """What the objective's value is called: as was said with `set_metric_names`, or `value`."""
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return str(attributes.get(_METRIC_NAMES, ["value"])[0])


def direction_of(study: optuna.Study) -> Direction:
    """Which way the objective of a study with one is better."""
    return "maximize" if study.direction is StudyDirection.MAXIMIZE else "minimize"


def config_of(trial: FrozenTrial) -> Config:
    """The parameters that a trial asked for, as held in spaces."""
    return {
        name: to_value(trial.distributions[name], value) for name, value in trial.params.items()
    }


def trial_of(
    study: str,
    trial: FrozenTrial,
    state: OptunaState,
    values: Sequence[float] | None,
    suggestion: Suggestion,
    seed: int = 0,
    proposing: float = 0.0,
) -> Trial:
    """The trial with this state and value, in the metric's own sense.

    One that violates a constraint or has no finite value is FAILED, and what it reported that is no
    finite number is left out. Optuna keeps no time of a report: what is known is how long the
    trial took, and of that `proposing` seconds are not its own.
    """
    ours, error, seconds = STATES[state], None, max(0.0, _seconds(trial) - proposing)
    violated = {name: by for name, by in trial.constraints.items() if not by <= 0.0}
    if ours is TrialState.FAILED:
        error = _FAILED
    elif violated and ours.finished:
        ours, error = TrialState.FAILED, f"constraints violated: {violated}"
    elif values and not math.isfinite(values[0]):
        ours, error = TrialState.FAILED, f"value = {values[0]!r}, which is no finite number"
    return Trial(
        study,
        trial.number,
        suggestion,
        seed,
        ours,
        curve=tuple(r for r in curve_of(trial, seconds) if math.isfinite(r.value)),
        value=values[0] if values and ours is not TrialState.FAILED else None,
        cost=seconds,
        error=error,
    )


def curve_of(trial: FrozenTrial, seconds: float = 0.0) -> tuple[Report, ...]:
    """What a trial reported, by step, after that many seconds in all."""
    reports = sorted(trial.intermediate_values.items())
    return tuple(Report(step, value, seconds) for step, value in reports)


def is_whole(trial: FrozenTrial, state: OptunaState) -> bool:
    """Whether a trial can be trusted to have asked for all the parameters that exist in it: it ran
    to its end, or was stopped while it reported."""
    pruned = state is OptunaState.PRUNED and bool(trial.intermediate_values)
    return state is OptunaState.COMPLETE or pruned


def write_plan(storage: BaseStorage, trial: FrozenTrial, plan: Mapping[str, Any]) -> None:
    """Let other processes know what a running trial is about to try, and that it is recorded by
    this one."""
    text = json.dumps(plan)
    for index, start in enumerate(range(0, len(text), _PIECE)):
        piece = text[start : start + _PIECE]
        storage.set_trial_system_attr(trial._trial_id, f"{_PLAN}:{index}", piece)


def has_plan(trial: FrozenTrial) -> bool:
    """Whether a sampler of ours proposed the trial, in whatever process."""
    return f"{_PLAN}:0" in trial.system_attrs


def read_plan(trial: FrozenTrial) -> Config:
    """What `write_plan` told of a trial, last if several times; empty where it is half written."""
    pieces: list[str] = []
    while (piece := trial.system_attrs.get(f"{_PLAN}:{len(pieces)}")) is not None:
        pieces.append(piece)
    try:  # behind it may stand the end of an earlier, longer one
        plan, _ = json.JSONDecoder().raw_decode("".join(pieces) or "{}")
    except json.JSONDecodeError:
        return {}
    return dict(plan)


def _seconds(trial: FrozenTrial) -> float:
    """How long a trial took, until now where it has not ended."""
    if trial.datetime_start is None:
        return 0.0
    end = trial.datetime_complete or datetime.now()  # Optuna's times have no zone
    return max(0.0, (end - trial.datetime_start).total_seconds())
