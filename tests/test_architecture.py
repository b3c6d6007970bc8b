"""Imports run one way, and the root names are pinned."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import metatune

PACKAGE = Path(metatune.__file__).parent
# From the top down; what stands in one line does not know its neighbours.
LAYERS = [
    {"__main__"},
    {"cli", "__init__"},
    {"report"},
    {"export", "ray_plugin", "optuna_plugin", "starter"},
    {"orchestration"},
    {"optimizers", "networks"},
    {"experience"},
    {"study"},
    {"trial"},
    {"task"},
    {"space"},
    {"parameters"},
    {"errors"},
]
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
HEAVY = ("ray", "optuna", "torch", "pyarrow", "sklearn", "pandas")


def _room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def _level(room: str) -> int:
    return next(level for level, rooms in enumerate(LAYERS) if room in rooms)


def _imported(path: Path) -> set[tuple[str, ...]]:
    """Names imported from metatune, at the top of the module or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {(*node.module.split("."), alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
    return {name[1:] for name in found if name[0] == "metatune" and len(name) > 1}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_run_downwards_only(module: Path) -> None:
    room = _room(module.parts)
    for name in _imported(PACKAGE / module):
        other = _room(name)
        if other != room:
            assert _level(other) > _level(room), f"{module} imports {'.'.join(name)}"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        ".".join(module.with_suffix("").parts): {
            ".".join(name[:end])
            for name in _imported(PACKAGE / module)
            for end in range(1, len(name) + 1)
        }
        for module in MODULES
    }
    graph = {module: {o for o in others if o in graph} for module, others in graph.items()}
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for other in graph[module]:
                visit(other, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_the_root_has_these_names_and_no_others() -> None:
    assert metatune.__all__ == [
        "Categorical",
        "ExperienceRecorder",
        "ExperienceStore",
        "Float",
        "Integer",
        "MetaPruner",
        "MetaSampler",
        "MetaScheduler",
        "MetaSearch",
        "MetatuneError",
        "Resources",
        "SearchSpace",
        "Study",
        "Task",
        "Trial",
        "search",
        "suggest",
    ]
    for name in metatune.__all__:
        assert getattr(metatune, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = metatune.nothing


def test_importing_metatune_imports_nothing_heavy() -> None:
    code = (
        "import sys, metatune, metatune.space, metatune.study, metatune.trial;"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_neither_torch_nor_ray() -> None:
    code = "import sys, metatune.cli; print([m for m in ('ray', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_reads_or_writes_pickle() -> None:
    for module in MODULES:
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse((PACKAGE / module).read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not names & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
