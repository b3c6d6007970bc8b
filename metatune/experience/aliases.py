"""Names that differ for the same parameter: `lr`, `learning_rate`, `optimizer.lr`."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from metatune.errors import InputError
from metatune.experience.files import Files
from metatune.experience.limits import MOST_ALIAS_BYTES
from metatune.experience.past import PastTask
from metatune.space import SearchSpace

FILE = "aliases.toml"
_ALIKE = str.maketrans("- /", "__.")


def _plain(name: str) -> str:
    """A name as the table compares it: in lower case, with one sign for each kind of separator."""
    return name.strip().lower().translate(_ALIKE)


@dataclass(frozen=True)
class Aliases:
    """A table of names that mean the same; only what it says is taken to be the same.

    `canonical_names` has each known name, as `_plain` writes it, with the one that stands for it.
    """

    canonical_names: Mapping[str, str]

    @classmethod
    def of(cls, names: Mapping[str, str]) -> Aliases:
        """The table that says of each key that it means the same as its value, and no more."""
        canonical = {_plain(name): _plain(name) for name in names.values()}
        return cls({**canonical, **{_plain(key): _plain(name) for key, name in names.items()}})

    @classmethod
    def shipped(cls) -> Aliases:
        """The table that comes with metatune."""
        return _shipped()

    @classmethod
    def load(cls, files: Files) -> Aliases:
        """The shipped table with what `aliases.toml` in the root of a store says besides.

        Raises InputError naming the file and the entry where that is no table of lists of names,
        or gives two meanings to a name.
        """
        path = files.path(FILE)
        try:
            text = files.read(path, MOST_ALIAS_BYTES).decode()
        except FileNotFoundError:
            return _shipped()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8: {error}") from None
        return cls({**_shipped().canonical_names, **_read(text, path)})

    def canonical(self, name: str) -> str:
        """The name that stands for all that mean the same as `name`; itself where none is known."""
        plain, seen = _plain(name), set[str]()
        while plain in self.canonical_names and plain not in seen:
            seen.add(plain)
            plain = self.canonical_names[plain]
        return plain if seen else name

    def between(self, theirs: Collection[str], ours: Collection[str]) -> dict[str, str]:
        """Which of `theirs` mean the same as one of `ours` of another name.

        Where several of either side mean the same, none is taken for another.
        """
        own = self._by_meaning(ours)
        return {
            names[0]: own[meaning][0]
            for meaning, names in self._by_meaning(theirs).items()
            if len(names) == 1 and len(own.get(meaning, [])) == 1 and names != own[meaning]
        }

    def _by_meaning(self, names: Iterable[str]) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in names:
            found[self.canonical(name)].append(name)
        return found


def renamed_space(space: SearchSpace, names: Mapping[str, str]) -> SearchSpace:
    """The space with its parameters called as `names` says, where it says something."""
    if not names:
        return space
    return SearchSpace(
        {names.get(name, name): parameter for name, parameter in space.parameters.items()},
        {
            names.get(child, child): {names.get(parent, parent): v for parent, v in when.items()}
            for child, when in space.when.items()
        },
    )


def renamed(past: PastTask, names: Mapping[str, str]) -> PastTask:
    """The past task with its parameters called as `names` says, where it says something."""
    if not names:
        return past
    trials = []
    for trial in past.trials:
        config = {names.get(name, name): value for name, value in trial.config.items()}
        trials.append(replace(trial, suggestion=replace(trial.suggestion, config=config)))
    return replace(past, space=renamed_space(past.space, names), trials=tuple(trials))


@cache
def _shipped() -> Aliases:
    path = Path(__file__).with_name(FILE)
    return Aliases(_read(path.read_text(encoding="utf-8"), str(path)))


def _read(text: str, source: str) -> dict[str, str]:
    """Each name of a table, with the one that stands for it."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not TOML: {error}") from None
    names: dict[str, str] = {}
    for canonical, others in table.items():
        if not isinstance(others, list) or not all(isinstance(name, str) for name in others):
            raise InputError(
                f"{source}: {canonical} = {others!r} must be a list of names; a name with a dot "
                f"stands in quotes"
            )
        for name in (canonical, *others):
            known = names.setdefault(_plain(name), _plain(canonical))
            if known != _plain(canonical):
                raise InputError(
                    f"{source}: {name!r} is said to mean both {known!r} and {canonical!r}; "
                    f"leave one of them"
                )
    return names
