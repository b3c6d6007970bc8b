"""Steps of a member against K, a panel for each network. Needs the extra `peers`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from results import Row

from population_benchmark.steps import DEFAULT, FUSED_OPTIMIZER

_COLUMNS, _WIDTH, _HEIGHT = 4, 3.2, 2.8
_CASE = re.compile(r"(?P<case>.*), K=(?P<count>\d+)")
_METRIC = re.compile(r"(?P<engine>eager|compiled)_member_steps_per_cpu_second")
_STYLES = {
    ("eager", DEFAULT): ("C0", "-"),
    ("compiled", DEFAULT): ("C3", "-"),
    ("eager", FUSED_OPTIMIZER): ("C0", ":"),
    ("compiled", FUSED_OPTIMIZER): ("C3", ":"),
}


def draw(rows: Sequence[Row], file: Path) -> None:
    """Write the figure of how many times as fast as the plain loop steps are, to `file`."""
    mpl.rcParams["svg.hashsalt"] = "metatune"
    panels: dict[str, dict[tuple[str, str], dict[int, float]]] = {}
    for row in rows:
        case, metric = _CASE.fullmatch(row.case), _METRIC.fullmatch(row.metric)
        if case and metric:
            lines = panels.setdefault(case["case"], {})
            lines.setdefault((metric["engine"], row.peer), {})[int(case["count"])] = row.ratio
    height = -(-len(panels) // _COLUMNS)
    size = (_WIDTH * min(len(panels), _COLUMNS), _HEIGHT * height + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    labels = {}
    for index, (name, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(height, min(len(panels), _COLUMNS), index + 1)
        for key, points in lines.items():
            colour, dashes = _STYLES[key]
            (drawn,) = axes.plot(
                list(points), list(points.values()), colour, linestyle=dashes, marker="."
            )
            labels[f"{key[0]}, against {key[1]}"] = drawn
        axes.axhline(1.0, color="grey", linewidth=0.8)
        axes.set(xscale="log", yscale="log", title=name, xlabel="K", ylabel="times as fast")
        counts = sorted({count for points in lines.values() for count in points})
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_yticks((0.5, 1, 2, 5, 10), ["0.5", "1", "2", "5", "10"])
        axes.set_ylim(0.4, 16)
        axes.minorticks_off()
    figure.legend(
        list(labels.values()),
        list(labels),
        loc="outside lower center",
        ncols=1 if len(panels) < _COLUMNS else 2,
    )
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
