"""HTML from plain values: everything that is not ours is escaped here."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from plotly.graph_objects import Figure

from metatune.parameters import Value


@dataclass(frozen=True)
class Plot:
    """A figure with a `key` of its own in the page, `height` in pixels, and one sentence on what
    it shows."""

    key: str
    figure: Figure
    caption: str
    height: int = 380


@dataclass(frozen=True)
class Section:
    """A part of the page: a title, one sentence on what it is about, and HTML or plots."""

    key: str
    title: str
    explanation: str
    parts: Sequence[str | Plot]


def escaped(text: object) -> str:
    """Text that shows as it is in HTML and inside quoted attributes."""
    return html.escape(str(text))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escaped(text)}</p>"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Value]], kind: str = "", caption: str = ""
) -> str:
    """A table; numbers stand on the right. `kind` is its class."""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in heads)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>\n" for row in rows)
    said = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll {kind}"><table class="{kind}">{said}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def facts(values: Mapping[str, str]) -> str:
    """What is known under each name, one line each."""
    rows = "".join(
        f"<tr><th scope='row'>{escaped(name)}</th><td>{escaped(value)}</td></tr>\n"
        for name, value in values.items()
    )
    return f'<div class="scroll"><table class="facts"><tbody>\n{rows}</tbody></table></div>'


def folded(summary: str, text: str) -> str:
    """Preformatted text that unfolds under a line of text."""
    return f"<details><summary>{escaped(summary)}</summary><pre>{escaped(text)}</pre></details>"


def shown(value: Value) -> str:
    """A value as people read it, floats to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    if seconds < 7200.0:
        return f"{seconds / 60.0:.3g} min"
    return f"{seconds / 3600.0:.3g} h"


def counted(count: int, what: str) -> str:
    """A number of things, such as '1 trial' and '2 trials'."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _cell(value: Value) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="number">{shown(value)}</td>'
    return f"<td>{escaped(value)}</td>"
