"""What experience had to say: which past tasks spoke, when it was overruled, how right it was."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from plotly.graph_objects import Figure, Scatter

from metatune.report.drawing import OTHERS, SEQUENCE, STATE_COLOURS, value_axis
from metatune.report.known import Known
from metatune.report.labels import label, labels, metric_title
from metatune.report.markup import Plot, Section, counted, paragraph
from metatune.trial import Trial, TrialState

_MOST_TASKS = len(SEQUENCE)
_LIGHTER = "#a9805b"
_OWN = "this task's own trials"
_MOST_NAMED = 20


def experience(known: Known) -> Section:
    """Past tasks and their weights over time, and what was predicted against what was measured."""
    explanation = (
        "Which past tasks the proposals were made from, with what weight, and how well they "
        "foretold what was measured."
    )
    spoken = [trial for trial in known.trials if trial.suggestion.tasks]
    parts: list[str | Plot] = []
    if spoken:
        parts += [_weights(known.trials, spoken), paragraph(_guarded(known.trials))]
    else:
        why = "No past task spoke: the study was searched without memory, or none was related."
        parts.append(paragraph(why, "note"))
    parts.append(_predictions(known))
    return Section("experience", "Experience", explanation, parts)


def shares(trials: Sequence[Trial]) -> dict[str, list[float]]:
    """The weight of each past task over `trials`, heaviest first, the lighter ones of more than a
    few together; last what the task's own trials weighed. The weights of a trial sum to 1."""
    total: dict[str, float] = defaultdict(float)
    for trial in trials:
        for task, weight in trial.suggestion.tasks.items():
            total[task] += weight
    heaviest = sorted(total, key=lambda task: (-total[task], task))
    apart, rest = heaviest[:_MOST_TASKS], heaviest[_MOST_TASKS:]
    rows = {t: [trial.suggestion.tasks.get(t, 0.0) for trial in trials] for t in apart}
    if rest:
        name = counted(len(rest), "lighter past task")
        rows[name] = [sum(t.suggestion.tasks.get(task, 0.0) for task in rest) for t in trials]
    heard = [sum(trial.suggestion.tasks.values()) for trial in trials]
    rows[_OWN] = [max(1.0 - weight, 0.0) for weight in heard]
    return rows


def _weights(trials: Sequence[Trial], spoken: Sequence[Trial]) -> Plot:
    figure = Figure()
    rows = shares(spoken)
    names = labels(rows)
    for index, (task, weights) in enumerate(rows.items()):
        apart = index < _MOST_TASKS and task != _OWN
        colour = SEQUENCE[index] if apart else OTHERS if task == _OWN else _LIGHTER
        figure.add_trace(
            Scatter(
                x=[trial.number for trial in spoken],
                y=weights,
                name=names[task],
                stackgroup="weights",
                mode="lines",
                line={"width": 0.5, "color": colour},
                fillcolor=colour,
                hovertemplate="%{y:.3f}",
            )
        )
    overruled = [trial.number for trial in trials if trial.suggestion.guarded]
    if overruled:
        figure.add_trace(
            Scatter(
                x=overruled,
                y=[1.04] * len(overruled),
                mode="markers",
                name="experience overruled",
                marker={"symbol": "triangle-down", "color": STATE_COLOURS[TrialState.FAILED]},
                hovertemplate="trial %{x}: experience overruled<extra></extra>",
            )
        )
    figure.update_layout(
        xaxis={"title": {"text": "trial, in order of proposal"}},
        yaxis={"title": {"text": "weight (shares, which sum to 1)"}, "range": [0, 1.08]},
        hovermode="x unified",
        legend={"traceorder": "normal"},
    )
    caption = (
        "How much each past task counted in the proposal of a trial; trials proposed in another "
        "way are left out."
    )
    return Plot("weights", figure, caption, 400)


def _guarded(trials: Sequence[Trial]) -> str:
    numbers = [trial.number for trial in trials if trial.suggestion.guarded]
    if not numbers:
        return "The guard never overruled experience."
    named = ", ".join(map(str, numbers[:_MOST_NAMED])) + ", ..." * (len(numbers) > _MOST_NAMED)
    return (
        f"The guard overruled experience in {counted(len(numbers), 'trial')} of {len(trials)} "
        f"({named}): this task's own trials told their order better."
    )


def _predictions(known: Known) -> str | Plot:
    """Predictions, which are lower-is-better inside, in the metric's own sense."""
    task = known.study.task
    told = [
        (trial, task.flip(trial.suggestion.predicted), trial.suggestion.uncertainty, trial.value)
        for trial in known.complete
        if trial.suggestion.predicted is not None
        and math.isfinite(trial.suggestion.predicted)
        and trial.value is not None
    ]
    if not told:
        return paragraph("No complete trial had its value predicted.", "note")
    measured = [value for *_, value in told]
    ends = [min(measured), max(measured)]
    bars = [u if u is not None and math.isfinite(u) else 0.0 for _, _, u, _ in told]
    figure = Figure()
    figure.add_trace(
        Scatter(
            x=ends,
            y=ends,
            mode="lines",
            name="as predicted",
            line={"color": OTHERS, "dash": "dash", "width": 1},
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        Scatter(
            x=[predicted for _, predicted, _, _ in told],
            y=measured,
            error_x={"type": "data", "array": bars, "thickness": 1, "width": 0},
            mode="markers",
            name="complete trial",
            marker={"color": STATE_COLOURS[TrialState.COMPLETE], "size": 6},
            text=[f"trial {t.number}, by {label(t.suggestion.optimizer)}" for t, *_ in told],
            hovertemplate="%{text}<br>predicted %{x:.6g}, measured %{y:.6g}<extra></extra>",
        )
    )
    axis = {key: value for key, value in value_axis(measured).items() if key == "range"}
    title = metric_title(known.study)
    figure.update_layout(
        xaxis={"title": {"text": f"predicted {title}"}},
        yaxis={"title": {"text": f"measured {title}"}, **axis},
        showlegend=False,
        hovermode="closest",
    )
    return Plot("predictions", figure, _within(told), 400)


def _within(told: Sequence[tuple[Trial, float, float | None, float]]) -> str:
    certain = [(p, u, v) for _, p, u, v in told if u is not None and math.isfinite(u)]
    caption = "What was predicted when a trial was proposed, with one standard deviation either way"
    if not certain:
        return f"{caption}."
    inside = sum(abs(value - predicted) <= u for predicted, u, value in certain)
    share = inside / len(certain)
    return (
        f"{caption}: {inside} of {len(certain)} measured values ({share:.0%}) lie within it; of a "
        f"normal distribution 68% would."
    )
