"""Options that say what trials get, of `metatune search` and of what is submitted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console

from metatune import ExperienceStore, Float, SearchSpace, Study, Task, Trial
from metatune.cli import app, jobs, main, printing
from metatune.cli.resourcing import resources_of
from metatune.orchestration.fitting import Placement
from metatune.orchestration.resources import Resources
from metatune.trial import Suggestion, TrialState

SEARCH = ["mlp", "--task", "iris", "--store", "s3://team/experience"]
ALL = [
    "--concurrency", "8", "--cpus", "2", "--gpus", "0.5", "--ram", "2GB", "--accelerator-type",
    "A100", "--custom-resources", "license=1", "--label", "ray.io/market-type=spot", "--label",
    "zone=in(a,b)", "--workers", "3", "--worker-resources", "CPU=2,memory=1GiB", "--placement",
    "SPREAD", "--max-failures", "2", "--time-budget", "8h", "--cost-budget", "2d",
]  # fmt: skip


def run(arguments: list[str], patch: pytest.MonkeyPatch) -> int:
    """The exit code of the command line in this process."""
    patch.setattr(sys, "argv", ["metatune", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_every_option_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = jobs._checked([*SEARCH, *ALL])
    assert passed == [*SEARCH, *ALL, "--study", "mlp-iris-0", "--address", "auto"]
    params = jobs._parsed(passed)
    assert (params["time_budget"], params["cost_budget"]) == (8 * 3600.0, 2 * 86400.0)
    assert resources_of(params) == Resources(
        cpus=2.0,
        gpus=0.5,
        concurrency=8,
        max_failures=2,
        memory=2e9,
        accelerator_type="A100",
        custom={"license": 1.0},
        labels={"ray.io/market-type": "spot", "zone": "in(a,b)"},
        bundles=[{"CPU": 2.0, "memory": 2.0**30}] * 3,
        placement=Placement.SPREAD,
    )


@pytest.mark.parametrize("command", ["search", "submit"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ram", "2 XB"], "--ram '2 XB' must be like 500MB"),
        (["--time-budget", "soon"], "--time-budget 'soon' must be like 90s"),
        (["--cost-budget", "2 weeks"], "--cost-budget '2 weeks' must be like 90s"),
        (["--gpus", "1.5"], "gpus = 1.5 of a trial must be a whole number"),
        (["--custom-resources", "license"], "--custom-resources 'license' must be like"),
        (["--label", "zone"], "--label 'zone' must be like zone=a"),
        (["--label", "zone=a", "--label", "zone=b"], "--label zone=b: is zone=a too"),
        (["--workers", "2", "--worker-resources", "CPU"], "--worker-resources 'CPU' must be"),
    ],
)
def test_a_wrong_option_is_one_line(
    command: str,
    options: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([command, *SEARCH, *options], monkeypatch) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("metatune: ")
    assert said in captured.err


def test_the_built_in_networks_start_no_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["search", "mlp", "--task", "iris", "--store", str(tmp_path), "--workers", "2"]
    assert run(search, monkeypatch) == 2
    assert "the built-in networks start none" in capsys.readouterr().err


def test_help_says_of_every_option_what_to_type() -> None:
    command = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    options = {name: p for p in command.params for name in p.opts}
    for name in [text for text in ALL if text.startswith("--")]:
        said = options[name].help
        assert said is not None, name
        assert "such as" in said or all(place in said for place in Placement), name
        assert said.endswith("."), name


@pytest.fixture
def troubled(tmp_path: Path) -> Path:
    """A store with a study of which one trial was tried again, and one failed."""
    store = ExperienceStore(tmp_path)
    store.put_study(Study("s", Task("t"), SearchSpace({"x": Float(0, 1)}), trials=2))
    raised = "Traceback\n  File 'a.py', line 1, in fit\n    raise\nValueError: no luck"
    proposed = Suggestion({"x": 0.5}, "random")
    retried = {"failures": ["ValueError: no luck", "KeyError: 'x'"]}
    store.append(
        [
            Trial("s", 0, proposed, 0, TrialState.COMPLETE, value=1.0, finished_index=0, cost=30.0,
                  training=retried),
            Trial("s", 1, proposed, 0, TrialState.FAILED, finished_index=1, cost=12.0,
                  error=raised),
        ]
    )  # fmt: skip
    return tmp_path


def test_results_say_why_attempts_failed_and_how_long_all_trained(
    troubled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["results", "s", "--store", str(troubled), "--json"], monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["failures"] == {"ValueError: no luck": 2, "KeyError: 'x'": 1}
    assert found["cost"] == 42.0
    monkeypatch.setattr(printing, "OUT", Console(soft_wrap=True, markup=False, width=300))
    assert run(["results", "s", "--store", str(troubled)], monkeypatch) == 0
    said = capsys.readouterr().out
    assert "trained 42 s" in said
    assert "3 failures: 2 x ValueError: no luck; KeyError: 'x'" in said
    assert run(["experience", "show", "--store", str(troubled)], monkeypatch) == 0
    said = capsys.readouterr().out
    assert "ValueError: no luck; KeyError: 'x'" in said
