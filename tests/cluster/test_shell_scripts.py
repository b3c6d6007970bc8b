"""The shell scripts by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "cluster"
SCRIPTS = [FOLDER / "launcher" / "node.sh", FOLDER / "slurm" / "metatune.sbatch"]
scripts = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)


def test_these_are_all() -> None:
    starts = {path for path in FOLDER.rglob("*") if path.is_file() and _is_bash(path)}
    assert starts == set(SCRIPTS)


def _is_bash(path: Path) -> bool:
    return path.read_text().startswith("#!/usr/bin/env bash")


@scripts
def test_bash_reads_it(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)


@scripts
def test_shellcheck_finds_nothing(path: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    found = subprocess.run([shellcheck, path], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


@scripts
def test_it_ends_nothing_that_others_started(path: Path) -> None:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        code = line.split("#")[0] if not line.lstrip().startswith("#") else ""
        for word in ("ray stop", "symmetric-run", "pkill", "killall"):
            assert word not in code, f"{path.name}:{number}"


@scripts
def test_errors_end_it_and_what_it_writes_is_for_nobody_else(path: Path) -> None:
    text = path.read_text()
    assert "set -euo pipefail\n" in text
    assert "umask 077\n" in text
