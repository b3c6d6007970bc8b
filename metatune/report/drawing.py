"""What all plots have in common: colours that show on light and dark, axes, and their JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from plotly.graph_objects import Figure

from metatune.report.markup import counted
from metatune.trial import TrialState

STATE_COLOURS = {
    TrialState.COMPLETE: "#2f83c4",
    TrialState.PRUNED: "#8d939c",
    TrialState.UNKNOWN: "#b08a3e",
    TrialState.FAILED: "#cf4f3c",
    TrialState.RUNNING: "#4f9d69",
}
BEST, RANDOM, NO_MEMORY = "#1d9a72", "#c98a2b", "#8a6fc0"
OTHERS = "#8d939c"
SEQUENCE = ["#2f83c4", "#c98a2b", "#1d9a72", "#8a6fc0", "#cf4f3c", "#5aa7b8", "#b0629a", "#7f8c3b"]
# Bad to good, or early to late.
SCALE = [[0.0, "#d08a3c"], [0.5, "#8f9aa3"], [1.0, "#2477bd"]]
# Positive values that span more than this factor are drawn on a logarithmic axis.
_WIDE = 20.0
# Of many values, those that lie beyond the quartiles by more than so many times their distance are
# left outside a plot, if they are few.
_FAR = 6.0
_MANY = 20
_FEW = 0.1


def finite(values: Iterable[float | None]) -> list[float | None]:
    """Values with None for those that are no finite number, which are not drawn."""
    return [v if v is not None and math.isfinite(v) else None for v in values]


def value_axis(values: Iterable[float | None]) -> dict[str, Any]:
    """The scale of an axis for these values: logarithmic where they are positive and span much,
    else linear, and then with the bulk of them in view where a few lie far out."""
    known = np.asarray([v for v in finite(values) if v is not None])
    if len(known) == 0:
        return {}
    if known.min() > 0.0 and known.max() > _WIDE * known.min():
        return {"type": "log"}
    low, high = np.quantile(known, [0.25, 0.75])
    reach = _FAR * (high - low)
    inside = known[(known >= low - reach) & (known <= high + reach)]
    outside = len(known) - len(inside)
    if len(known) < _MANY or not 0 < outside <= _FEW * len(known) or np.ptp(inside) <= 0.0:
        return {}
    margin = 0.05 * float(np.ptp(inside))
    return {"range": [float(inside.min()) - margin, float(inside.max()) + margin]}


def beyond(values: Sequence[float | None], axis: dict[str, Any]) -> str:
    """A sentence on how many values an axis of `value_axis` leaves out of view, if any."""
    if "range" not in axis:
        return ""
    low, high = axis["range"]
    count = sum(v is not None and not low <= v <= high for v in finite(values))
    return f" Out of view: {counted(count, 'value')} far off; double-click the plot to see all."


def figure_json(figure: Figure) -> str:
    """The data and layout of a figure as JSON that can stand in a script element.

    Numbers that are not finite become null. Colours of text, axes and background are left to the
    page, which knows whether it is light or dark.
    """
    plain = json.loads(str(figure.to_json(engine="json")))
    layout = plain["layout"]
    for key in ("template", "plot_bgcolor", "paper_bgcolor", "title", "width"):
        layout.pop(key, None)
    layout["margin"] = {"l": 64, "r": 24, "t": 24, "b": 48}
    layout["autosize"] = True
    text = json.dumps({"data": plain["data"], "layout": layout}, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
