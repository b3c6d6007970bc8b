"""Exported scripts, run without metatune: they give the recorded score, to the last digit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_studies import CNN, MLP, RESNET, SGD, TRANSFORMER, regression, told, trained

from metatune import SearchSpace
from metatune.errors import ConfigurationError
from metatune.export.documents import document
from metatune.export.program import Program
from metatune.export.python_script import to_script
from metatune.space import Config
from metatune.trial import TrialState

# Runs scripts where these cannot be imported, as if they were not installed.
_BLOCKED = ["metatune", "ray", "optuna"]
_RUNNER = """
import runpy, sys
blocked, *scripts = sys.argv[1:]
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked.split(","):
            raise ModuleNotFoundError(f"{name} is not to be imported")
sys.meta_path.insert(0, Blocker())
for script in scripts:
    print("##", script)
    sys.argv = [script]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        print(ended)
"""
GRADINIT: Config = {k: v for k, v in MLP.items() if k != "initializer_gain"}
GRADINIT["initializer"] = "gradinit"
CASES: dict[str, tuple[Config, str]] = {
    "mlp": (MLP, "iris"),
    "sgd": (SGD, "breast_cancer"),
    "cnn": (CNN, "digits"),
    "resnet": (RESNET, "digits"),
    "patches": (TRANSFORMER, "digits"),
    "columns": (TRANSFORMER, "wine"),
    "regression": (regression(MLP), "linnerud"),
    "file": (MLP, "shop.csv"),
    "array": (regression(MLP), "shop.npz"),
    "gradinit": (GRADINIT, "iris"),
}


def run(scripts: list[Path]) -> str:
    """What scripts print one after another, in a process that knows nothing of this one."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    runner = [sys.executable, "-I", "-W", "error", "-c", _RUNNER, ",".join(_BLOCKED)]
    done = subprocess.run(
        [*runner, *scripts], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def data_files(folder: Path) -> None:
    """A table with text, dates, what is missing and two classes; and an array of numbers."""
    rng = np.random.default_rng(0)
    lines = ["size,color,day,kind"]
    for row in range(60):
        size = "" if row % 7 == 0 else f"{rng.normal():.4f}"
        lines.append(f"{size},{('red', 'blue', '')[row % 3]},2026-01-{row % 28 + 1:02},{row % 2}")
    (folder / "shop.csv").write_text("\n".join(lines))
    x = rng.normal(size=(60, 3))
    np.savez(folder / "shop.npz", x=x, target=x[:, 0] - x[:, 1] ** 2)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, Path, list[str]]]:
    """Of each case the recorded score, the script, and what it printed."""
    folder = tmp_path_factory.mktemp("scripts")
    data_files(folder)
    recorded, scripts = {}, {}
    for name, (config, data) in CASES.items():
        path = str(folder / data) if "." in data else data
        study, (trial,) = trained([config], path, "kind" if data == "shop.csv" else None)
        scripts[name] = folder / f"{name}.py"
        scripts[name].write_text(to_script(document(study, trial), study.space))
        assert trial.value is not None
        recorded[name] = trial.value
    parts = run(list(scripts.values())).split("## ")[1:]
    return {
        name: (recorded[name], scripts[name], part.splitlines()[1:])
        for name, part in zip(CASES, parts, strict=True)
    }


@pytest.mark.parametrize("case", CASES)
def test_a_script_gives_the_recorded_score(
    printed: dict[str, tuple[float, Path, list[str]]], case: str
) -> None:
    recorded, script, lines = printed[case]
    assert lines[0] == f"validation_loss = {recorded!r} (recorded {recorded!r})"
    assert any(line.startswith("test_") for line in lines[1:])
    text = script.read_text()
    imported = {
        words[1].split(".")[0]
        for line in text.splitlines()
        if (words := line.split()) and words[0] in ("import", "from") and line[0] != '"'
    }
    assert imported - sys.stdlib_module_names <= {"torch", "numpy", "sklearn", "pyarrow"}
    assert ("pyarrow" in imported) == (case == "file")
    assert ("pyarrow" in text.split('"""')[1]) == (case == "file"), "the head says what it needs"


def test_no_name_in_a_script_is_undefined_unused_or_defined_twice(
    printed: dict[str, tuple[float, Path, list[str]]],
) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    scripts = [script for _, script, _ in printed.values()]
    options = ["check", "--isolated", "--no-cache", "--select", "F,E9"]
    done = subprocess.run([ruff, *options, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_script_holds_only_what_its_configuration_reaches(
    printed: dict[str, tuple[float, Path, list[str]]],
) -> None:
    texts = {name: script.read_text() for name, (_, script, _) in printed.items()}
    for word, cases in {
        "def mlp(": {"mlp", "sgd", "regression", "file", "array", "gradinit"},
        "def cnn(": {"cnn"},
        "def resnet(": {"resnet"},
        "class _Attention(": {"patches", "columns"},
        "def _unit_variance(": {"cnn"},
        "torch._fused_sgd_(": {"sgd"},
        "def through(": set(),
        "def _from_arrow(": {"file"},
        "def save(": set(),
        "def load(": set(),
    }.items():
        assert {name for name, text in texts.items() if word in text} == cases, word


def test_changed_or_missing_data_is_said(tmp_path: Path) -> None:
    data_files(tmp_path)
    data = tmp_path / "shop.csv"
    study, (trial,) = trained([MLP], str(data), "kind")
    script, gone = tmp_path / "script.py", tmp_path / "gone.py"
    script.write_text(to_script(document(study, trial), study.space))
    gone.write_text(script.read_text().replace("shop.csv", "nowhere.csv"))
    data.write_text(data.read_text().replace("red", "green"))
    out = run([script, gone])
    assert "shop.csv: no longer the data that the score was recorded on" in out
    assert "nowhere.csv: no such file" in out


def test_any_name_of_a_study_or_file_can_stand_in_the_head() -> None:
    study, (trial,) = trained([MLP])
    exported = document(study, trial)
    exported["study"]["name"] = 'a"""\\\n${b}'
    compile(to_script(exported, study.space), "script.py", "exec")


def test_what_is_no_built_in_network_is_refused() -> None:
    study, trials = told([TrialState.COMPLETE])
    with pytest.raises(ConfigurationError, match=r"'train_shop'.*export it as toml, json or yaml"):
        to_script(document(study, trials[0]), study.space)
    study, (trial,) = trained([MLP])
    exported = document(study, trial)
    exported["training"]["data"] = "derived:iris"
    with pytest.raises(ConfigurationError, match="'derived:iris' is neither one of"):
        to_script(exported, study.space)


def test_two_definitions_of_one_name_are_refused() -> None:
    modules = ["metatune.networks.architectures.resnet", "metatune.networks.architectures.cnn"]
    roots = [(modules[0], "resnet"), ("metatune.networks.data.reading", "read")]
    with pytest.raises(ValueError, match="two modules define 'read'"):
        Program([*roots, ("metatune.networks.checkpoints", "read")], [], [], [], {})


def test_every_shipped_space_makes_scripts_without_a_conflict_of_names() -> None:
    for name in ("mlp", "cnn", "resnet", "transformer"):
        space = SearchSpace.load(name)
        config = space.build(lambda _, parameter: parameter.from_unit(0.3))
        study, (trial,) = trained([MLP])
        exported = document(study, trial)
        exported["configuration"] = config
        text = to_script(exported, space)
        compile(text, f"{name}.py", "exec")
        assert re.search(rf"^def {name}\(", text, re.MULTILINE)
