"""The example of an import followed by a better search runs, and the search starts from it."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

from metatune import ExperienceStore
from metatune.orchestration.running import _QUIET

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(300)  # a command, and a cluster that starts
@pytest.mark.usefixtures("cluster")
def test_a_search_starts_from_what_was_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in _QUIET.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]]))
    program = runpy.run_path(str(ROOT / "examples" / "import_then_search.py"))
    best = program["main"](tmp_path, old_trials=30, trials=2)
    assert best["with the import"][0] < best["without"][0]
    store = ExperienceStore(tmp_path / "experience")
    imported = store.trials(task="low-digits")
    assert len(imported) == 30
    first = store.trials(study="with-the-import")[0]
    assert first.suggestion.tasks.keys() == {"low-digits"}
    names = {"lr": "learning_rate"}
    tried = [{names.get(k, k): v for k, v in trial.config.items()} for trial in imported]
    assert first.config in tried
    out = capfd.readouterr().out
    assert "understood as the same thing: lr -> learning_rate" in out
    assert "imported 30 trials" in out
    assert out.splitlines()[-2].startswith("with the import")
