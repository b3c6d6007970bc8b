"""What the trials cost, and the populations that they were trained in."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from plotly.graph_objects import Bar, Figure, Scatter

from metatune.parameters import Value
from metatune.report.drawing import STATE_COLOURS
from metatune.report.known import Known, is_measured
from metatune.report.markup import Plot, Section, duration, paragraph, table
from metatune.trial import Trial, TrialState

_MOST_POPULATIONS = 100


def cost(known: Known) -> Section:
    """Seconds of training, by state and over time."""
    explanation = (
        "Seconds that trials trained, summed over trials; waiting and proposing do not count, and "
        "trials that ran side by side count each."
    )
    parts: list[str | Plot] = []
    if not any(_seconds(trial) for trial in known.trials):
        parts.append(paragraph("No seconds of training are recorded.", "note"))
    else:
        parts.append(_by_state(known.trials))
        if known.finished:
            parts += [_cumulative(known.finished), _per_trial(known.trials)]
    populations = _populations(known)
    if populations:
        parts.append(populations)
    return Section("cost", "Cost", explanation, parts)


def _seconds(trial: Trial) -> float:
    return trial.cost if math.isfinite(trial.cost) else 0.0


def _by_state(trials: Sequence[Trial]) -> str:
    total = sum(map(_seconds, trials))
    rows: list[list[Value]] = []
    for state in TrialState:
        of_state = [trial for trial in trials if trial.state is state]
        if of_state:
            spent = sum(map(_seconds, of_state))
            each = duration(spent / len(of_state))
            share = f"{spent / total:.1%}"
            rows.append([state.lower(), len(of_state), duration(spent), share, each])
    rows.append(["all", len(trials), duration(total), "100%", duration(total / len(trials))])
    return table(["state", "trials", "training time", "share", "each"], rows)


def _cumulative(finished: Sequence[Trial]) -> Plot:
    figure = Figure()
    for state in TrialState:
        spent = [_seconds(trial) if trial.state is state else 0.0 for trial in finished]
        if any(trial.state is state for trial in finished):
            figure.add_trace(
                Scatter(
                    x=list(range(1, len(finished) + 1)),
                    y=list(accumulate(spent)),
                    name=state.lower(),
                    stackgroup="seconds",
                    mode="lines",
                    line={"width": 0.5, "color": STATE_COLOURS[state], "shape": "hv"},
                    fillcolor=STATE_COLOURS[state],
                    hovertemplate="%{y:.4g} s",
                )
            )
    figure.update_layout(
        xaxis={"title": {"text": "trials that have ended"}},
        yaxis={"title": {"text": "seconds of training, summed"}},
        hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return Plot("cost", figure, "What all trials so far cost, by how they ended.", 340)


def _per_trial(trials: Sequence[Trial]) -> Plot:
    figure = Figure()
    for state in TrialState:
        of_state = [trial for trial in trials if trial.state is state]
        if of_state:
            figure.add_trace(
                Bar(
                    x=[trial.number for trial in of_state],
                    y=[_seconds(trial) for trial in of_state],
                    width=1,
                    name=state.lower(),
                    marker={"color": STATE_COLOURS[state], "line": {"width": 0}},
                    hovertemplate="trial %{x}: %{y:.4g} s",
                )
            )
    figure.update_layout(
        xaxis={"title": {"text": "trial, in order of proposal"}},
        yaxis={"title": {"text": "seconds of training"}},
        barmode="overlay",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return Plot("cost-each", figure, "What each trial cost.", 300)


def _populations(known: Known) -> str:
    """A table of the populations in the order of their first trial; empty without any."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in known.trials:
        if trial.population is not None:
            groups[trial.population].append(trial)
    rows: list[list[Value]] = []
    for name, members in list(groups.items())[:_MOST_POPULATIONS]:
        values = [t.value for t in members if is_measured(t) and t.value is not None]
        best = min(values, key=known.study.task.flip, default=None)
        ended = sum(trial.state is TrialState.COMPLETE for trial in members)
        spent = duration(sum(map(_seconds, members)))
        at_once = members[-1].training.get("at_once")
        rows.append([name, len(members), ended, spent, at_once, best])
    if not rows:
        return ""
    heads = ["population", "trials", "complete", "training time", "trained at once"]
    caption = "Populations: trials of one architecture trained as one program"
    if len(groups) > len(rows):
        caption += f" (the first {len(rows)} of {len(groups)})"
    return table([*heads, f"best {known.study.task.metric}"], rows, caption=caption)
