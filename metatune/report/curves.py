"""Learning curves of all trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

from plotly.graph_objects import Figure, Scatter

from metatune.experience.past import thinned
from metatune.report.drawing import BEST, STATE_COLOURS, beyond, value_axis
from metatune.report.known import Known
from metatune.report.labels import metric_title
from metatune.report.markup import Plot, Section, paragraph
from metatune.trial import Report, Trial, TrialState

# More curves than this hide one another.
_MOST_CURVES = 200
# Points of one curve that are drawn.
_MOST_POINTS = 100
_ENDS = {TrialState.PRUNED: "line-ns", TrialState.FAILED: "x", TrialState.UNKNOWN: "diamond-open"}


def curves(known: Known) -> Section:
    """What each trial reported, step by step."""
    explanation = "What each trial reported while it trained, by step."
    reported = [(trial, curve) for trial in known.trials if (curve := _finite(trial))]
    if not any(len(curve) > 1 for _, curve in reported):
        why = "No trial reported more than once, so there is no curve to draw."
        return Section("curves", "Learning curves", explanation, [paragraph(why, "note")])
    drawn = _best_and_some(known, reported)
    values = [report.value for _, curve in drawn for report in curve]
    axis = value_axis(values)
    figure = Figure()
    for state in TrialState:
        of_state = [(trial, curve) for trial, curve in drawn if trial.state is state]
        if of_state:
            _draw(figure, state, of_state)
    for trial, curve in drawn:
        if trial is known.best and len(curve) > 1:
            _draw_best(figure, trial, curve)
    figure.update_layout(
        xaxis={"title": {"text": "step (reports of the trainable)"}},
        yaxis={"title": {"text": metric_title(known.study)}, **axis},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
    caption = "Curves end in a bar where a trial was pruned, and in a cross where it failed."
    if any(trial.state is TrialState.UNKNOWN for trial, _ in drawn):
        caption += " Open diamonds: whether it was stopped or ended by itself is not known."
    if len(drawn) < len(reported):
        caption += (
            f" Of {len(reported)} curves, the best and some of the others, {len(drawn)} in all."
        )
    if any(len(curve) > _MOST_POINTS for _, curve in reported):
        caption += f" Of long ones, {_MOST_POINTS} points are drawn."
    return Section(
        "curves",
        "Learning curves",
        explanation,
        [Plot("curves", figure, caption + beyond(values, axis), 440)],
    )


def thinned_curve(curve: Sequence[Report], most: int) -> list[Report]:
    """At most `most` reports, at least 2: evenly spaced, the first and the last among them."""
    last = len(curve) - 1
    if last < most:
        return list(curve)
    return [curve[index * last // (most - 1)] for index in range(most)]


def _best_and_some(
    known: Known, curves: Sequence[tuple[Trial, list[Report]]]
) -> list[tuple[Trial, list[Report]]]:
    """At most _MOST_CURVES of the curves, the best half of as many and every k-th of the others,
    each thinned out."""

    def rank(index: int) -> tuple[bool, float]:
        trial = curves[index][0]
        value = math.inf if trial.value is None else known.study.task.flip(trial.value)
        return trial is not known.best, value if math.isfinite(value) else math.inf

    ranked = sorted(range(len(curves)), key=rank)
    kept = sorted(ranked[index] for index in thinned(len(ranked), _MOST_CURVES))
    return [(curves[i][0], thinned_curve(curves[i][1], _MOST_POINTS)) for i in kept]


def _finite(trial: Trial) -> list[Report]:
    return [report for report in trial.curve if math.isfinite(report.value)]


def _draw(figure: Figure, state: TrialState, drawn: Sequence[tuple[Trial, list[Report]]]) -> None:
    """All curves of one state as one line, with gaps between."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial, curve in drawn:
        x += [*(report.step for report in curve), None]
        y += [*(report.value for report in curve), None]
        numbers += [trial.number] * len(curve) + [None]
    colour = STATE_COLOURS[state]
    figure.add_trace(
        Scatter(
            x=x,
            y=y,
            customdata=numbers,
            mode="lines",
            name=state.lower(),
            legendgroup=state.lower(),
            line={"color": colour, "width": 1},
            opacity=0.55,
            hovertemplate="trial %{customdata}, step %{x}: %{y:.6g}<extra></extra>",
        )
    )
    if state in _ENDS:
        figure.add_trace(
            Scatter(
                x=[curve[-1].step for _, curve in drawn],
                y=[curve[-1].value for _, curve in drawn],
                customdata=[trial.number for trial, _ in drawn],
                mode="markers",
                showlegend=False,
                legendgroup=state.lower(),
                marker={"symbol": _ENDS[state], "color": colour, "size": 8}
                | {"line": {"width": 1.5, "color": colour}},
                hovertemplate=f"trial %{{customdata}} {state.lower()} at step %{{x}}"
                f"<extra></extra>",
            )
        )


def _draw_best(figure: Figure, trial: Trial, curve: Sequence[Report]) -> None:
    figure.add_trace(
        Scatter(
            x=[report.step for report in curve],
            y=[report.value for report in curve],
            mode="lines",
            name=f"best (trial {trial.number})",
            line={"color": BEST, "width": 3},
            hovertemplate="best, step %{x}: %{y:.6g}<extra></extra>",
        )
    )
