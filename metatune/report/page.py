"""The page: one HTML file with everything in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from metatune.report.drawing import figure_json
from metatune.report.markup import Plot, Section, escaped

# The page has all it needs, and a browser is told to ask for nothing else.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
_HERE = Path(__file__).parent


def render(title: str, subtitle: str, sections: Sequence[Section], footer: str) -> str:
    """The page as HTML. It makes no request of any kind when opened; plotly.js is in it once,
    where there is a plot."""
    links = "".join(f'<a href="#{s.key}">{escaped(s.title)}</a>' for s in sections)
    drawn = any(isinstance(part, Plot) for section in sections for part in section.parts)
    library = f"<script>{get_plotlyjs()}</script>" if drawn else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="referrer" content="no-referrer">
<title>{escaped(title)}</title>
<style>
{_read("page.css")}</style>
</head>
<body>
<header>
<h1>{escaped(title)}</h1>
<p>{escaped(subtitle)}</p>
</header>
<nav><div>{links}</div></nav>
<main>
{"".join(map(_section, sections))}<footer>{escaped(footer)}</footer>
</main>
{library}
<script>
{_read("page.js")}</script>
</body>
</html>
"""


def _section(section: Section) -> str:
    body = "\n".join(_plot(p) if isinstance(p, Plot) else p for p in section.parts)
    return (
        f'<section id="{section.key}">\n<h2>{escaped(section.title)}</h2>\n'
        f"<p>{escaped(section.explanation)}</p>\n{body}\n</section>\n"
    )


def _plot(plot: Plot) -> str:
    data = figure_json(plot.figure)
    return (
        f'<figure><div class="plot" id="plot-{plot.key}" style="height:{plot.height}px"></div>\n'
        f"<figcaption>{escaped(plot.caption)}</figcaption>\n"
        f'<script type="application/json" id="data-plot-{plot.key}">{data}</script></figure>'
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
