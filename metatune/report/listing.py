"""The table of all trials."""

from __future__ import annotations

from metatune.parameters import Value
from metatune.report.known import Known
from metatune.report.markup import Section, paragraph, table
from metatune.trial import Trial

_HEADS = ("trial", "state", "steps", "seconds", "proposed by", "past task heard most", "its weight")


def listing(known: Known) -> Section:
    """Every trial with its configuration and where it came from, to be sorted."""
    explanation = "Every trial; a click on a heading sorts, a second one the other way."
    if not known.trials:
        return Section("trials", "All trials", explanation, [paragraph("There is none.", "note")])
    outside = dict.fromkeys(
        name
        for trial in known.trials
        for name in trial.config
        if name not in known.study.space.parameters
    )
    names = [*known.study.space.names, *outside]
    heads = [_HEADS[0], _HEADS[1], known.study.task.metric, *_HEADS[2:], *names]
    rows = (_row(trial, names) for trial in known.trials)
    return Section("trials", "All trials", explanation, [table(heads, rows, "sortable")])


def _row(trial: Trial, names: list[str]) -> list[Value]:
    tasks = trial.suggestion.tasks
    heard = max(tasks, key=lambda task: (tasks[task], task), default=None)
    source = trial.suggestion.optimizer + ", guarded" * trial.suggestion.guarded
    weight = None if heard is None else float(f"{tasks[heard]:.3g}")
    configuration: list[Value] = [
        _told(trial.config[n]) if n in trial.config else None for n in names
    ]
    steps = trial.step if trial.curve else None
    known: list[Value] = [
        trial.number,
        trial.state.lower(),
        trial.value,
        steps,
        trial.cost,
        source,
        heard,
        weight,
    ]
    return [*known, *configuration]


def _told(value: Value) -> Value:
    """None as a choice is told from a parameter that does not exist, which stays empty."""
    return "None" if value is None else value
