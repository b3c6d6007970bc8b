"""Reports in a real headless browser: no error, no request, every plot drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import needs_browser, open_page
from crafted import kept, make_study, remembered, searched
from test_report import evil_study

from metatune.experience.store import ExperienceStore
from metatune.optimizers.optuna_samplers import TPE
from metatune.report import write_report
from metatune.study import Study
from metatune.trial import Trial

# Sorts the table by its first number column, turns it round, and says what then stands on top.
_SORTING = """
<script>
const heads = document.querySelectorAll("table.sortable th button");
heads[0].click(); heads[0].click();
const first = document.querySelector("table.sortable tbody tr");
document.body.setAttribute("data-first", first.cells[0].textContent);
heads[2].click();
const values = Array.from(document.querySelectorAll("table.sortable tbody tr"))
  .map((row) => row.cells[2].textContent);
document.body.setAttribute("data-values", values.join(" "));
</script>
"""


def ordinary() -> tuple[Study, list[Trial]]:
    """A study with everything in it."""
    study = make_study()
    return study, remembered(searched(study, 30, TPE()))


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_plot_is_drawn(tmp_path: Path, dark: bool) -> None:
    study, trials = evil_study() if dark else ordinary()
    store = kept(ExperienceStore(tmp_path / "store"), study, trials)
    path = write_report(store, study.name, tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    path.write_text(page.replace("</body>", _SORTING + "</body>"), encoding="utf-8")
    opened = open_page(path.as_uri(), dark=dark)
    assert opened.console == []
    assert opened.requests == []
    plots = re.findall(r'<div class="plot[^>]* id="plot-[^>]*>', opened.document)
    assert len(plots) == page.count('id="plot-') >= 8
    assert all("data-drawn" in plot and "js-plotly-plot" in plot for plot in plots)
    # Every plot has its data as marks: lines, points, bars, areas or contours.
    bodies = re.split(r'<div class="plot[^>]* id="plot-', opened.document)[1:]
    for body in bodies:
        drawn = body.split("<figcaption>")[0]
        assert re.search(r'class="(trace|contour|point|contourlayer)[ "]', drawn), body[:80]
    last = max(trial.number for trial in trials)
    assert f'data-first="{last}"' in opened.document
    told = re.search(r'data-values="([^"]*)"', opened.document)
    assert told is not None
    values = [float(value) for value in told[1].split()]
    assert values == sorted(values)
    assert len(values) > 10
