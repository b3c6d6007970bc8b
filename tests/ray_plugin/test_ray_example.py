"""The example of a Ray Tune program with two lines added runs, and its second search remembers."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from metatune import ExperienceStore
from metatune.orchestration.running import _QUIET

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_two_lines.py"


@pytest.mark.usefixtures("cluster")
def test_two_lines_added_make_the_second_search_remember(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in _QUIET.items():
        monkeypatch.setenv(name, value)
    added = [line for line in EXAMPLE.read_text().splitlines() if "# +" in line]
    assert len(added) == 2
    program = runpy.run_path(str(EXAMPLE))
    so_far = program["main"](str(tmp_path / "store"), trials=4)
    assert [len(values) for values in so_far.values()] == [4, 4]
    store = ExperienceStore(tmp_path / "store")
    first = store.trials(task="high digits")[0]
    assert first.suggestion.tasks.keys() == {"low digits"}
    assert first.config in [trial.config for trial in store.trials(task="low digits")]
    assert "high digits: best loss" in capsys.readouterr().out
