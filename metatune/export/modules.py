"""The modules of metatune as text: what each defines and imports, and where it stands."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType


@dataclass(frozen=True)
class Module:
    """One module of metatune, by its full name."""

    name: str

    @cached_property
    def loaded(self) -> ModuleType:
        """The module itself."""
        return importlib.import_module(self.name)

    @cached_property
    def lines(self) -> list[str]:
        """Its source."""
        return inspect.getsource(self.loaded).split("\n")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse("\n".join(self.lines))

    @cached_property
    def definitions(self) -> dict[str, ast.stmt]:
        """What it defines at the top, by name."""
        return {name: node for node in self.tree.body for name in _defined(node)}

    @cached_property
    def internal_imports(self) -> dict[str, tuple[str, str]]:
        """What it imports from metatune: name -> (module, name there, or "" for a module)."""
        found = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and _is_ours(node):
                for alias in node.names:
                    name, inside = alias.asname or alias.name, f"{node.module}.{alias.name}"
                    is_module = inspect.ismodule(getattr(self.loaded, name))
                    found[name] = (inside, "") if is_module else (str(node.module), alias.name)
        return found

    @cached_property
    def external_imports(self) -> list[tuple[str, str, str]]:
        """What it imports from elsewhere: (name as used, module, what of it, or "")."""
        found = []
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                found += [(a.asname or a.name, _as(a), "") for a in node.names]
            elif isinstance(node, ast.ImportFrom) and not _is_ours(node):
                found += [(a.asname or a.name, str(node.module), _as(a)) for a in node.names]
        return found

    def span(self, node: ast.stmt) -> tuple[int, int]:
        """First and last line of a definition, with decorators and the comments just above."""
        first = node.lineno
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([first, *(decorator.lineno for decorator in node.decorator_list)])
        while first > 1 and self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return first, node.end_lineno or node.lineno

    def dead_branches(self, node: ast.AST, words: Collection[str]) -> list[ast.If]:
        """The branches `if x == "word":`, `if "word" in x:` and `if word(...):` for one of `words`
        that can be left out as they stand."""
        found = []
        for part in ast.walk(node):
            for statements in (getattr(part, "body", None), getattr(part, "orelse", None)):
                if not isinstance(statements, list):
                    continue
                idle = [s for s in statements if isinstance(s, ast.If) and _asks_for(s, words)]
                is_elif = idle and self.lines[idle[0].lineno - 1].lstrip().startswith("elif")
                if is_elif or len(idle) < len(statements):
                    found += idle
        return found


def entries(node: ast.AST) -> dict[str, tuple[ast.expr, range]]:
    """Value and lines of each entry of a table `NAME = {"word": value, ...}`, an entry a line;
    empty for anything else."""
    table = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if not isinstance(table, ast.Dict) or table.lineno == table.end_lineno:
        return {}
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return {}
        found[key.value] = (value, range(key.lineno, (value.end_lineno or 0) + 1))
    return found


def methods(node: ast.stmt) -> dict[str, ast.FunctionDef]:
    """The methods of a class, by name; none of anything else."""
    inside = node.body if isinstance(node, ast.ClassDef) else []
    return {method.name: method for method in inside if isinstance(method, ast.FunctionDef)}


def bound(node: ast.AST) -> set[str]:
    """Names that are local to a function, or to one inside it."""
    if not isinstance(node, ast.FunctionDef):
        return set()
    walked = list(ast.walk(node))
    names = {n.id for n in walked if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names | {n.arg for n in walked if isinstance(n, ast.arg)}


def read(node: ast.AST, without: Collection[ast.AST]) -> Iterator[str]:
    """Names that are read and chains of attributes, such as `math.pi`, or `.T` of what is no
    name; not those inside the nodes `without`."""
    if node in without:
        return
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.insert(0, node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        yield ".".join([node.id, *chain])
        return
    yield from (f".{name}" for name in chain)
    for child in ast.iter_child_nodes(node):
        yield from read(child, without)


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]


def _is_ours(node: ast.ImportFrom) -> bool:
    return str(node.module).split(".")[0] == "metatune"


def _as(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name


def _asks_for(node: ast.If, words: Collection[str]) -> bool:
    match node.test:
        case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=word)]):
            pass
        case ast.Compare(left=ast.Constant(value=word), ops=[ast.In()]):
            pass
        case ast.Call(func=ast.Name(id=word)):
            pass
        case _:
            return False
    return not node.orelse and word in words
