"""The README of the folder: what it names is there, and what is there it names."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer.testing

from metatune.cli import app

FOLDER = Path(__file__).parents[2] / "cluster"
TEXT = (FOLDER / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_it_names_every_file_and_no_other() -> None:
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    named = set(re.findall(r"[\w.-]+/[\w.-]+\.(?:yaml|sh|sbatch)", TEXT.replace("cluster/", "")))
    assert named <= files
    assert {path for path in files if Path(path).name not in TEXT} == {"README.md"}


@pytest.mark.parametrize("block", BLOCKS)
def test_its_commands_are_ones_that_bash_and_metatune_know(block: str) -> None:
    subprocess.run(["bash", "-n", "-c", block], check=True)
    for command in re.findall(r"^metatune (.*)$", block, re.MULTILINE):
        name, *arguments = shlex.split(command)
        result = typer.testing.CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0
        if name == "submit":  # takes the arguments of a search
            result = typer.testing.CliRunner().invoke(app, ["search", *arguments, "--help"])
            assert result.exit_code == 0
