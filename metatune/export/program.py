"""The parts of metatune's own source that a program needs, to stand in a file of their own.

From the definitions that a program starts with, those that they refer to are followed through the
modules; of a class only the methods that something kept may call are, by name. So what is written
is what metatune runs, word for word.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from metatune.export.modules import Module, bound, entries, methods, read


@dataclass(frozen=True)
class Piece:
    """A definition at the top of a module, that of a class without its methods, or a method."""

    module: str
    name: str
    method: str = ""


class Program:
    """What a program needs that starts with `roots`, (module, name) each, and calls the methods
    `calls` of theirs.

    A table that metatune looks words up in, `{"relu": nn.ReLU, ...}`, keeps its entries for
    `words`, if it has any; branches such as `if name == "relu":` for one of the words `never` are
    left out (see `Module.dead_branches`). What stands in `instead` of a name is written for it.
    Raises ValueError where two modules define one name.
    """

    def __init__(
        self,
        roots: Sequence[tuple[str, str]],
        calls: Collection[str],
        words: Collection[str],
        never: Collection[str],
        instead: Mapping[str, str],
    ) -> None:
        self._words, self._never, self._instead = set(words), set(never), instead
        self._modules: dict[str, Module] = {}
        self._attributes = set(calls)
        self._used: dict[str, set[str]] = defaultdict(set)  # names and chains, by module
        self.pieces: set[Piece] = set()
        waiting = [Piece(*root) for root in roots]
        while waiting:
            piece = waiting.pop()
            if piece not in self.pieces:
                self.pieces.add(piece)
                waiting += self._needs(piece)
            if not waiting:
                waiting = [method for method in self._called() if method not in self.pieces]
        names = [piece.name for piece in self.pieces if not piece.method]
        for name in sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two modules define {name!r}; one program cannot")

    def text(self) -> str:
        """Definitions in the order in which metatune has them, modules under their titles."""
        text = "\n\n\n".join(self._section(self._module(name)) for name in self._order())
        for old, new in self._instead.items():
            text = re.sub(rf"\b{old}\b", new, text)
        return text

    def imports(self) -> list[str]:
        """The import statements that the definitions use, one for each module, sorted."""
        plain: set[str] = set()
        named: dict[str, set[str]] = defaultdict(set)
        for module in self._order():
            used = self._used[module]
            for name, source, part in self._module(module).external_imports:
                if any(f"{chain}.".startswith(f"{name}.") for chain in used):
                    if part:
                        named[source].add(part)
                    else:
                        plain.add(f"import {source}")
        lines = [
            f"from {source} import {', '.join(sorted(parts))}" for source, parts in named.items()
        ]
        return [*sorted(plain), *sorted(lines)]

    def _module(self, name: str) -> Module:
        return self._modules.setdefault(name, Module(name))

    def _node(self, piece: Piece) -> ast.stmt:
        node = self._module(piece.module).definitions[piece.name]
        return methods(node)[piece.method] if piece.method else node

    def _needs(self, piece: Piece) -> Iterator[Piece]:
        """What a piece refers to at the top of some module of metatune."""
        module, node = self._module(piece.module), self._node(piece)
        without: list[ast.AST] = [*module.dead_branches(node, self._never), *methods(node).values()]
        without += [value for value, _ in self._unasked(node).values()]
        local, foreign = bound(node), {name for name, *_ in module.external_imports}
        for chain in read(node, without):
            name, _, rest = chain.partition(".")
            if name in local or name not in foreign:  # `np.load` calls no method of ours
                self._attributes |= set(rest.split("."))
            if not name or name in local:
                continue
            self._used[module.name].add(chain)
            if name in module.definitions:
                yield Piece(module.name, name)
            elif name in module.internal_imports and name not in self._instead:
                source, inside = module.internal_imports[name]
                yield Piece(source, inside or rest.split(".")[0])

    def _unasked(self, node: ast.AST) -> dict[str, tuple[ast.expr, range]]:
        """Those entries of a table that none of the words asks for."""
        found = entries(node)
        if not self._words & found.keys():
            return {}
        return {word: entry for word, entry in found.items() if word not in self._words}

    def _called(self) -> Iterator[Piece]:
        """The methods of kept classes that something kept, or torch, may call."""
        for piece in list(self.pieces):
            node = self._node(piece)
            for name in methods(node):
                special = name.startswith("__") and name.endswith("__")
                derived = isinstance(node, ast.ClassDef) and bool(node.bases)
                if special or derived or name in self._attributes:
                    yield Piece(piece.module, piece.name, name)

    def _section(self, module: Module) -> str:
        kept = {piece.name for piece in self.pieces if piece.module == module.name}
        nodes = {id(n): n for name, n in module.definitions.items() if name in kept}
        text, spaced, is_titled = "", True, False
        for node in nodes.values():
            long = isinstance(node, ast.FunctionDef | ast.ClassDef)
            text += ("\n\n\n" if long or spaced else "\n") + self._source(module, node)
            spaced, is_titled = long, is_titled or long
        said = (ast.get_docstring(module.tree) or module.name).split("\n\n")[0]
        title = "\n".join(f"# {line}" for line in said.splitlines())
        return title + text if is_titled else text.lstrip("\n")

    def _source(self, module: Module, node: ast.stmt) -> str:
        first, last = module.span(node)
        dropped = {line for _, lines in self._unasked(node).values() for line in lines}
        for branch in module.dead_branches(node, self._never):
            dropped |= set(range(branch.lineno, (branch.end_lineno or 0) + 1))
        for name, method in methods(node).items():
            if Piece(module.name, _name(node), name) not in self.pieces:
                begin, end = module.span(method)
                dropped |= set(range(begin - 1, end + 1))  # with the empty line before
        text = "\n".join(module.lines[n - 1] for n in range(first, last + 1) if n not in dropped)
        for name, (_, inside) in module.internal_imports.items():
            if not inside:
                text = re.sub(rf"(?<![.\w]){name}\.(?=\w)", "", text)
        return text

    def _order(self) -> list[str]:
        """Modules with something kept, each after those that it imports from."""
        kept = {piece.module for piece in self.pieces}
        order: list[str] = []

        def visit(name: str) -> None:
            for other, _ in self._module(name).internal_imports.values():
                if other in kept and other not in order:
                    visit(other)
            if name not in order:
                order.append(name)

        for name in sorted(kept):
            visit(name)
        return order


def _name(node: ast.stmt) -> str:
    return node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
