"""What the parameters did, drawn by Optuna from the exported study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.importance import get_param_importances
from optuna.trial import FrozenTrial
from optuna.visualization import (
    plot_contour,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_slice,
)
from plotly.colors import sample_colorscale
from plotly.graph_objects import Figure

from metatune.experience.past import thinned
from metatune.export.optuna_journal import as_optuna_study
from metatune.optimizers.optuna_history import quiet
from metatune.report.drawing import BEST, SCALE, value_axis
from metatune.report.known import Known
from metatune.report.labels import labelled
from metatune.report.markup import Plot, Section, counted, paragraph
from metatune.space import Config
from metatune.study import Study
from metatune.trial import Trial

# Complete trials that importances and a contour need to say something.
FEWEST_TRIALS = 10
_MOST_PARAMETERS = 12
_IN_A_ROW = 4
# Lines of the parallel coordinates; and points of the slices, which keep a page small.
_MOST_LINES = 200
_MOST_POINTS = 1000


def parameters(known: Known) -> Section:
    """Importances, slices, parallel coordinates and a contour of the complete trials."""
    explanation = (
        "Which parameters mattered and where the good values lie, over the trials that ran to "
        "their end; drawn by Optuna."
    )
    if not known.complete:
        why = "No trial has run to its end with a finite value, so there is nothing to draw."
        return Section("parameters", "Parameters", explanation, [paragraph(why, "note")])
    study, trials = labelled(known.study, known.complete)
    with quiet("optuna"):
        parts = _parts(study, trials)
    return Section("parameters", "Parameters", explanation, parts)


def _parts(study: Study, trials: Sequence[Trial]) -> list[str | Plot]:
    some = _best_and_some(study, trials, _MOST_POINTS)
    kept = as_optuna_study(study, some)
    ranked, first = _ranked(study, kept, trials)
    parts: list[str | Plot] = [first]
    shown = ranked[:_MOST_PARAMETERS]
    if len(shown) < len(ranked):
        which = "most important" if isinstance(first, Plot) else "first"
        said = f"Below, the {which} {len(shown)} of {len(ranked)} parameters that varied are drawn."
        parts.append(paragraph(said))
    parts += _slices(study, kept, shown, sorted(trial.number for trial in some))
    if len(trials) > 1 and len(ranked) > 1:
        few = _best_and_some(study, trials, _MOST_LINES)
        parts.append(_parallel(study, few, shown, len(trials)))
    pair = _pair([trial.config for trial in trials], ranked)
    if pair:
        parts.append(_contour(study, kept, trials, pair))
    return parts


def _ranked(
    study: Study, kept: optuna.Study, trials: Sequence[Trial]
) -> tuple[list[str], str | Plot]:
    """The parameters that varied, if any did, the most important first where that is known; and
    the plot of importances or why there is none."""
    present = [name for name in study.space.names if any(name in t.config for t in trials)]
    varied = [n for n in present if len({repr(t.config.get(n)) for t in trials}) > 1]
    if len(trials) < FEWEST_TRIALS or len(present) < 2 or not varied:
        said = (
            f"Importances take {FEWEST_TRIALS} complete trials and two parameters that varied; "
            f"there are {counted(len(trials), 'complete trial')}."
        )
        return varied or present, paragraph(said, "note")
    importances = get_param_importances(kept)
    ranked = sorted(varied, key=lambda name: -importances.get(name, 0.0))
    return ranked, _importances(kept, len(importances))


def _best_and_some(study: Study, trials: Sequence[Trial], most: int) -> list[Trial]:
    """Of more than `most` trials the best half of as many and every k-th of the others."""
    ranked = sorted(trials, key=lambda t: (study.task.flip(t.value or 0.0), t.number))
    kept = {ranked[index].number for index in thinned(len(ranked), most)}
    return [trial for trial in trials if trial.number in kept]


def _importances(kept: optuna.Study, count: int) -> Plot:
    figure = plot_param_importances(kept)
    figure.update_traces(marker_color=BEST, hovertemplate="%{y}: %{x:.3f}<extra></extra>")
    figure.update_layout(
        xaxis_title="importance (shares, which sum to 1)", yaxis_title=None, showlegend=False
    )
    caption = (
        "How much a parameter decided whether a trial was among the best tenth (PED-ANOVA, "
        "Watanabe et al. 2023)."
    )
    return Plot("importances", figure, caption, 120 + 26 * count)


def _slices(
    study: Study, kept: optuna.Study, names: Sequence[str], numbers: Sequence[int]
) -> list[str | Plot]:
    """Slices in rows; `numbers` are those that the trials have, which Optuna counts anew."""
    plots: list[str | Plot] = []
    axis = value_axis([trial.value for trial in kept.get_trials(deepcopy=False)])
    count = -(-len(names) // _IN_A_ROW)
    for start in range(count):
        row = list(names[start::count])
        figure = plot_slice(kept, params=row, target_name=study.task.metric)
        for place, trace in enumerate(figure.data):
            trace.marker.color = [numbers[index] for index in trace.marker.color]
            trace.marker.colorscale = SCALE
            trace.marker.showscale = place == 0
            trace.hovertemplate = "trial %{marker.color}: %{x}, %{y:.6g}<extra></extra>"
        figure.update_yaxes(**axis)
        caption = (
            "Each complete trial at its value of one parameter; early trials are orange, late "
            "ones blue."
        )
        plots.append(Plot(f"slices-{start + 1}", figure, caption, 340))
    return plots


def _parallel(study: Study, trials: Sequence[Trial], names: Sequence[str], count: int) -> Plot:
    target, title = _target(study, trials)
    figure = plot_parallel_coordinate(
        as_optuna_study(study, trials), params=list(names), target=target, target_name=title
    )
    _recolour(figure, _good_is_blue(study))
    figure.update_layout(xaxis={"tickfont": {"size": 11}})
    figure.update_annotations(font={"size": 10, "color": None})
    caption = "Each complete trial as a line through its values: good ones blue, bad ones orange."
    if study.space.when:
        caption += " None stands for a parameter that does not exist in a trial, too."
    if count > len(trials):
        caption += f" Of {count} trials, the best and some of the others, {len(trials)} in all."
    return Plot("parallel", figure, caption, 460)


def _recolour(figure: Figure, scale: list[list[Any]]) -> None:
    """Optuna's lines fade into one background or the other; these show on both."""
    for trace in figure.data:
        if trace.mode == "lines" and trace.y and trace.y[0] is not None:
            place = min(max(float(trace.y[0]), 0.0), 1.0)
            trace.line.color = sample_colorscale(scale, [place])[0]
        elif trace.mode == "markers" and trace.marker.colorscale is not None:
            trace.marker.colorscale = scale
            trace.marker.reversescale = False


def _pair(configs: Sequence[Config], ranked: Sequence[str]) -> list[str]:
    """The two most important parameters that vary together in enough trials, if there are."""
    for index, second in enumerate(ranked):
        for first in ranked[:index]:
            both = [(c[first], c[second]) for c in configs if first in c and second in c]
            varied = all(len({repr(pair[side]) for pair in both}) > 2 for side in (0, 1))
            if len(both) >= FEWEST_TRIALS and varied:
                return [first, second]
    return []


def _contour(study: Study, kept: optuna.Study, trials: Sequence[Trial], pair: list[str]) -> Plot:
    target, title = _target(study, trials)
    figure = plot_contour(kept, params=pair, target=target, target_name=title)
    for trace in figure.data:
        if trace.type == "contour":
            trace.colorscale, trace.reversescale = _good_is_blue(study), False
            trace.line.width = 0
    caption = (
        "The two most important parameters together; between trials (points) the values are "
        "interpolated."
    )
    return Plot("contour", figure, caption, 460)


def _target(study: Study, trials: Sequence[Trial]) -> tuple[Callable[[FrozenTrial], float], str]:
    """What colours stand for, and its name: the value, or its logarithm where values span much,
    with those cut that lie far out."""
    axis = value_axis([trial.value for trial in trials])
    if axis.get("type") == "log":
        return lambda trial: math.log10(trial.value or 1.0), f"log10 of {study.task.metric}"
    low, high = axis.get("range", (-math.inf, math.inf))
    return lambda trial: min(max(trial.value or 0.0, low), high), study.task.metric


def _good_is_blue(study: Study) -> list[list[Any]]:
    if study.task.direction == "maximize":
        return SCALE
    return [[at, colour] for (at, _), (_, colour) in zip(SCALE, SCALE[::-1], strict=True)]
