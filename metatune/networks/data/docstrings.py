"""Real text that is always there: docstrings of Python's library and packages that are needed."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from metatune.errors import DataError

# Each package, and what it is called in its own docstrings.
_PACKAGES = {
    "python": "python|py",
    "numpy": "numpy|np",
    "scipy": "scipy|sp",
    "sklearn": "sklearn|scikit|learn",
    "torch": "torch|pytorch",
}
_OF_EACH_PACKAGE = 480  # docstrings of a package
_FEWEST_CHARACTERS = 40  # characters of a docstring
_MOST_CHARACTERS = 1_000


@cache
def docstrings() -> tuple[list[str], list[str]]:
    """Packages [n], and for each a docstring of it without its own name [n].

    Sources are read, nothing is imported, and no test is among them. Files are taken in the order
    of a hash of their names, so that what is found depends on the versions installed and on
    nothing else; a text that stands in two places counts once. Raises DataError where a package is
    not installed.
    """
    labels: list[str] = []
    texts: list[str] = []
    seen: set[str] = set()
    for package, names in _PACKAGES.items():
        own = re.compile(rf"\b_*({names})_*\b", re.IGNORECASE)
        count = 0
        for found in _docstrings_of(package):
            document = " ".join(own.sub(" ", found).split())[:_MOST_CHARACTERS]
            if len(document) < _FEWEST_CHARACTERS or document in seen:
                continue
            seen.add(document)
            labels.append(package)
            texts.append(document)
            count += 1
            if count == _OF_EACH_PACKAGE:
                break
    return labels, texts


def _docstrings_of(package: str) -> Iterator[str]:
    folder = _folder(package)
    names = [path.relative_to(folder) for path in folder.rglob("*.py")]
    names = [name for name in names if not re.search("test|-packages/", name.as_posix())]
    for name in sorted(names, key=lambda name: _place_of(name.as_posix())):
        for node in ast.walk(_parsed(folder / name)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield ast.get_docstring(node) or ""


def _folder(package: str) -> Path:
    if package == "python":
        return Path(ast.__file__).parent
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"docstrings: package {package!r} is not installed, or has no sources")
    return Path(spec.origin).parent


def _parsed(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how others escape backslashes
        try:
            return ast.parse(path.read_bytes())
        except SyntaxError:  # written for another version of Python
            return ast.Module([], [])


def _place_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
