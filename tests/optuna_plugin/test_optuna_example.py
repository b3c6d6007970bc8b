"""The example runs, and its second study starts from what the first one learned."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from metatune import ExperienceStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "optuna_two_lines.py"


def test_the_second_study_starts_from_the_first(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "odd-digits",
        "large-digits",
    ]
    assert not done.stderr
    store = ExperienceStore(tmp_path / "store")
    first, second = store.trials(task="odd-digits"), store.trials(task="large-digits")
    assert {trial.suggestion.optimizer for trial in first} == {"tpe"}
    assert {trial.suggestion.optimizer for trial in second} == {"transfer"}
    [start] = [trial.value for trial in second if trial.number == 0]
    assert start is not None
    assert start > statistics.median(trial.value for trial in first if trial.value is not None)


def test_it_is_two_lines() -> None:
    marked = [
        line for line in EXAMPLE.read_text().splitlines() if "metatune" in line and "# the" in line
    ]
    assert len(marked) == 2
