"""`metatune report`: what it prints and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from crafted import kept, make_study, searched

from metatune.cli import main
from metatune.experience.store import ExperienceStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with the study `s`, beside an empty working directory."""
    folder = tmp_path / "store"
    kept(ExperienceStore(folder), make_study(), searched(make_study(), 3))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, store: Path, *arguments: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["metatune", "report", *arguments, "--store", str(store)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_file_is_named_after_the_study(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, store, "s") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("s.html\n", "")
    assert Path("s.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_machines_are_told_where_it_is(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, store, "s", "-o", "../other.html", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    size = Path("../other.html").stat().st_size
    assert told == {"study": "s", "path": "../other.html", "bytes": size}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t"], "study 't' is unknown"),
        (["s", "-o", "nowhere/s.html"], "folder 'nowhere' does not exist"),
        (["s", "-o", "."], "cannot be written: Is a directory"),
    ],
)
def test_what_is_wrong_is_one_line(
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert run(monkeypatch, store, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert list(Path().iterdir()) == []
