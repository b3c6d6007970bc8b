"""Regret against the number of trials, a panel for each setting. Needs the extra `peers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from transfer_benchmark.figures import Curves
from transfer_benchmark.methods import OURS

_WIDTH, _HEIGHT = 4.2, 3.4
# The least mean regret that is drawn, on a logarithmic axis.
_LEAST = 1e-3
_TRIALS = (1, 2, 5, 10, 20, 50, 100)
_REGRETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def draw(panels: Sequence[Curves], file: Path) -> None:
    """Write the figure of mean regrets, each over all cells that its method has run, to `file`."""
    mpl.rcParams["svg.hashsalt"] = "metatune"
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows + 0.5), layout="constrained")
    methods = sorted({method for curves in panels for method in [OURS, *curves.peers]})
    styles = {m: (f"C{i % 10}", "-" if i < 10 else "--") for i, m in enumerate(methods)}
    styles[OURS] = "black", "-"
    lines = {}
    for index, curves in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        for method in [m for m in methods if m in curves.runs]:
            mean = curves.regrets(method, curves.common([method])).mean(axis=0)
            colour, dashes = styles[method]
            (lines[method],) = axes.plot(
                np.arange(1, len(mean) + 1),
                np.maximum(mean, _LEAST),
                color=colour,
                linestyle=dashes,
                linewidth=2.2 if method == OURS else 1.1,
            )
        axes.set(xscale="log", yscale="log", title=str(curves.setting))
        axes.set(xlabel="trials", ylabel="mean regret")
        axes.set_xticks(_TRIALS, [str(n) for n in _TRIALS])
        axes.set_yticks(_REGRETS, [f"{regret:g}" for regret in _REGRETS])
        axes.minorticks_off()
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=6)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
