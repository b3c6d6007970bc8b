"""Names as plots can show them: what plotly would take for markup is escaped, long ones are cut."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from metatune.parameters import Categorical, Parameter, Value
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.trial import Suggestion, Trial

_LONGEST = 24


def label(text: object) -> str:
    """Text that plotly shows as it is."""
    return html.escape(" ".join(str(text).split()), quote=False)


def labels(texts: Iterable[str]) -> dict[str, str]:
    """A label for each text, with the middle of long ones left out where they stay distinct."""
    known = list(dict.fromkeys(texts))
    short = {text: _short(text) for text in known}
    made = {text: label(cut) for text, cut in short.items()}
    distinct = len(set(made.values())) == len(known)
    return made if distinct else {text: html.escape(text, quote=False) for text in known}


def metric_title(study: Study) -> str:
    """The metric with its direction, for an axis."""
    better = "lower" if study.task.direction == "minimize" else "higher"
    return f"{label(_short(study.task.metric))} ({better} is better)"


def labelled(study: Study, trials: Sequence[Trial]) -> tuple[Study, list[Trial]]:
    """The study and its trials with labels for the names of parameters and for choices that are
    strings, and the title of the metric; of trials, what plots of parameters show."""
    names = labels(study.space.names)
    choices = {
        name: labels(c for c in p.choices if isinstance(c, str))
        for name, p in study.space.parameters.items()
        if isinstance(p, Categorical)
    }

    def choice(name: str, value: Value) -> Value:
        return choices.get(name, {}).get(value, value) if isinstance(value, str) else value

    def parameter(name: str, p: Parameter) -> Parameter:
        if not isinstance(p, Categorical):
            return p
        return Categorical(tuple(choice(name, c) for c in p.choices), p.ordered)

    def config(values: Mapping[str, Value]) -> Config:
        return {names[n]: choice(n, value) for n, value in values.items() if n in names}

    space = SearchSpace(
        {names[name]: parameter(name, p) for name, p in study.space.parameters.items()},
        {
            names[child]: {
                names[parent]: tuple(choice(parent, value) for value in values)
                for parent, values in conditions.items()
            }
            for child, conditions in study.space.when.items()
        },
    )
    task = replace(study.task, metric=metric_title(study))
    told = [
        replace(
            trial,
            suggestion=Suggestion(config(trial.config), trial.suggestion.optimizer),
            curve=(),
            error=None,
            training={},
        )
        for trial in trials
    ]
    return replace(study, task=task, space=space), told


def _short(text: str) -> str:
    half = (_LONGEST - 1) // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}…{text[-half:]}"
