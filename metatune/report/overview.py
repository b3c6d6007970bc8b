"""The head of a report: what was searched, how it went, and the best that was found."""

from __future__ import annotations

import math
import sys
from collections import Counter

from metatune.report.known import Known
from metatune.report.markup import Section, duration, escaped, facts, paragraph, shown
from metatune.trial import Trial, TrialState


def overview(known: Known) -> list[Section]:
    """What was searched and the best configuration."""
    return [_summary(known), _best(known)]


def total_cost(trials: tuple[Trial, ...]) -> float:
    """Seconds of training of all trials; those not known count for nothing."""
    return sum(trial.cost for trial in trials if math.isfinite(trial.cost))


def _summary(known: Known) -> Section:
    study, task, best = known.study, known.study.task, known.best
    counts = Counter(trial.state for trial in known.trials)
    states = ", ".join(f"{counts[s]} {s.lower()}" for s in TrialState if counts[s])
    tiles = {
        f"best {task.metric}": "none yet" if best is None else shown(best.value),
        "trials": str(len(known.trials)),
        "training time, summed over trials": duration(total_cost(known.trials)),
    }
    past = [name for name, count in study.experience.items() if count]
    measured = "best of its reports" if task.measure == "best" else "last of its reports"
    trained = {key: shown(value) for key, value in study.training.items() if value is not None}
    rows = {
        "task": task.name,
        "description": task.description,
        "metric": f"{task.metric}, to {task.direction}; a trial counts with the {measured}",
        "trials": (states or "none") + _budget(study.trials),
        "optimizer": study.optimizer,
        "pruner": study.pruner,
        "memory": f"{len(past)} earlier studies" if len(past) > 1 else ", ".join(past),
        "seed": str(study.seed),
        "trained with": ", ".join(f"{key} {value}" for key, value in trained.items()),
        "versions": ", ".join(f"{name} {text}" for name, text in study.versions.items()),
        "data": task.data_hash and f"hash {task.data_hash}",
    }
    head = "".join(
        f"<div class='tile'><b>{escaped(value)}</b><span>{escaped(name)}</span></div>"
        for name, value in tiles.items()
    )
    parts = [
        f'<div class="tiles">{head}</div>',
        facts({key: text for key, text in rows.items() if text}),
    ]
    if not known.trials:
        parts.append(paragraph("The study has no trial yet, so there is nothing to draw.", "note"))
    return Section("study", "Study", "What was searched, and with what.", parts)


def _budget(trials: int) -> str:
    """What a study has of trials to run: nothing where it is not known, or ends with the time."""
    return f"; budget {trials}" if 0 < trials < sys.maxsize else ""


def _best(known: Known) -> Section:
    best = known.best
    explanation = "The complete trial with the best value; the earliest of equals."
    if best is None:
        why = "No trial has run to its end with a finite value, so there is no best configuration."
        return Section("best", "Best configuration", explanation, [paragraph(why, "note")])
    said = f"Trial {best.number}: {known.study.task.metric} {shown(best.value)}"
    if (alone := best.training.get("alone")) is not None:
        said += f"; trained once more by itself: {shown(alone)}"
    said += f"; proposed by {best.suggestion.optimizer}, {duration(best.cost)} of training."
    rows = {name: shown(value) for name, value in best.config.items()}
    return Section("best", "Best configuration", explanation, [paragraph(said), facts(rows)])
