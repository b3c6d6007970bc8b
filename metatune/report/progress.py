"""The best value so far, against what other ways of searching would be expected to give."""

from __future__ import annotations

import math
from collections.abc import Sequence

from plotly.graph_objects import Figure, Scatter

from metatune.report.drawing import (
    BEST,
    NO_MEMORY,
    OTHERS,
    RANDOM,
    STATE_COLOURS,
    beyond,
    finite,
    value_axis,
)
from metatune.report.estimates import Estimate, Estimates
from metatune.report.expected import Expected
from metatune.report.known import Known, is_measured
from metatune.report.labels import label, metric_title
from metatune.report.markup import Plot, Section, paragraph
from metatune.task import Task
from metatune.trial import Trial, TrialState

_MOST_OTHERS = 6


def progress(known: Known, estimates: Estimates) -> Section:
    """Best so far over the trials that have ended."""
    explanation = (
        "The best value after so many trials; what other ways of searching would give is "
        "estimated, not measured."
    )
    if not known.complete:
        why = "No trial has run to its end with a finite value, so there is nothing to draw."
        return Section("progress", "Best so far", explanation, [paragraph(why, "note")])
    figure = Figure()
    values = [trial.value for trial in known.complete]
    axis = value_axis([*values, *_medians(known.study.task, estimates)])
    _draw_expected(figure, known.study.task, estimates)
    others = sorted(known.others, key=lambda name: (-len(known.others[name]), name))
    for name in others[:_MOST_OTHERS]:
        _draw_best(figure, known.study.task, known.others[name], label(name), OTHERS, dash="dot")
    _draw_trials(figure, known)
    _draw_best(figure, known.study.task, known.finished, "best so far", BEST)
    figure.update_layout(
        xaxis={"title": {"text": "trials that have ended"}, "rangemode": "tozero"},
        yaxis={"title": {"text": metric_title(known.study)}, **axis},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    caption = (
        f"Points are complete trials.{beyond(values, axis)} Trials that were pruned or failed "
        f"count on the horizontal axis and have no point."
    )
    notes = [
        _said("Random search", "band from the 10th to the 90th percentile", estimates.random),
        _said("Without memory", "band over all runs", estimates.no_memory),
    ]
    if len(others) > _MOST_OTHERS:
        notes.append(
            f"Of {len(others)} other studies of this task in this space, the {_MOST_OTHERS} with "
            f"most trials are drawn (dotted)."
        )
    elif others:
        which = "another study" if len(others) == 1 else f"{len(others)} other studies"
        notes.append(f"Dotted: {which} of this task in this space, as measured.")
    if estimates.random.expected is not None or estimates.no_memory.expected is not None:
        notes.append(
            "Estimates never go beyond the best that was measured, as nothing is known of what "
            "lies there; pruned trials count in them with the value that they had reached."
        )
    return Section(
        "progress",
        "Best so far",
        explanation,
        [Plot("progress", figure, caption, 460), *map(paragraph, notes)],
    )


def best_so_far(task: Task, trials: Sequence[Trial]) -> list[float | None]:
    """The best complete value of the first 1, 2, ... trials, None until there is one."""
    best, found = math.inf, list[float | None]()
    for trial in trials:
        if is_measured(trial) and trial.value is not None:
            best = min(best, task.flip(trial.value))
        found.append(task.flip(best) if math.isfinite(best) else None)
    return found


def _said(way: str, band: str, estimate: Estimate) -> str:
    if estimate.expected is None:
        return f"{way} is not drawn: {estimate.how}."
    return f"{way} (estimated; line: median, {band}): from {estimate.how}."


def _medians(task: Task, estimates: Estimates) -> list[float]:
    drawn = [e.expected for e in (estimates.random, estimates.no_memory) if e.expected is not None]
    return [task.flip(value) for expected in drawn for value in expected.middle.tolist()]


def _draw_expected(figure: Figure, task: Task, estimates: Estimates) -> None:
    drawn = [
        ("random search, estimated", RANDOM, estimates.random.expected),
        ("without memory, estimated", NO_MEMORY, estimates.no_memory.expected),
    ]
    for name, colour, expected in drawn:
        if expected is not None:
            _draw_band(figure, task, expected, name, colour)


def _draw_band(figure: Figure, task: Task, expected: Expected, name: str, colour: str) -> None:
    ends = [[task.flip(v) for v in row.tolist()] for row in (expected.low, expected.high)]
    kept = [i for i, (a, b) in enumerate(zip(*ends, strict=True)) if math.isfinite(a + b)]
    style = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    x = [i + 1 for i in kept]
    figure.add_trace(Scatter(x=x, y=[ends[0][i] for i in kept], legendgroup=name, **style))
    fill = {"fill": "tonexty", "fillcolor": _faint(colour), "legendgroup": name}
    figure.add_trace(Scatter(x=x, y=[ends[1][i] for i in kept], **fill, **style))
    middle = finite([task.flip(v) for v in expected.middle.tolist()])
    figure.add_trace(
        Scatter(
            x=list(range(1, len(middle) + 1)),
            y=middle,
            mode="lines",
            name=name,
            legendgroup=name,
            line={"color": colour, "dash": "dash"},
            hovertemplate="%{y:.6g}",
        )
    )


def _draw_best(
    figure: Figure, task: Task, trials: Sequence[Trial], name: str, colour: str, dash: str = "solid"
) -> None:
    figure.add_trace(
        Scatter(
            x=list(range(1, len(trials) + 1)),
            y=best_so_far(task, trials),
            mode="lines",
            name=name,
            line={"color": colour, "shape": "hv", "width": 2.5 if dash == "solid" else 1.2}
            | {"dash": dash},
            hovertemplate="%{y:.6g}",
        )
    )


def _draw_trials(figure: Figure, known: Known) -> None:
    places = [(i + 1, t) for i, t in enumerate(known.finished) if is_measured(t)]
    figure.add_trace(
        Scatter(
            x=[place for place, _ in places],
            y=[trial.value for _, trial in places],
            mode="markers",
            name="complete trial",
            marker={"color": STATE_COLOURS[TrialState.COMPLETE], "size": 6, "opacity": 0.7},
            text=[f"trial {t.number}, by {label(t.suggestion.optimizer)}" for _, t in places],
            hovertemplate="%{text}: %{y:.6g}<extra></extra>",
        )
    )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
