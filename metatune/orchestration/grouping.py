"""Which trials are trained together as one population."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from metatune.errors import InputError
from metatune.networks.population import shared_settings
from metatune.space import Config, SearchSpace
from metatune.trial import Trial

# A population gets this share of the budget, or what trains at a time if that is more: searches
# that tried fewer architectures found worse ones.
_SHARES = 32


def check_size(size: int | None) -> None:
    """Raise InputError for what is no number of members; None is for that of the study."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise InputError(
            f"population = {size!r} must be a whole number of at least 1: how many networks are "
            f"trained as one program"
        )


@dataclass
class Group:
    """Trials that are, or were, members of the population `name`: their numbers in order, and the
    settings that they have in common."""

    name: str
    settings: Config
    members: list[int] = field(default_factory=list)


class Grouping:
    """The groups of a study, a function of its trials.

    A group is named `p` and the number of its first trial, whose proposal is free. Members
    proposed to fill it are given its settings, up to `allowance` trials. A free proposal with the
    settings of a group may join it; that gives it as many trials again.
    """

    def __init__(
        self, space: SearchSpace, size: int, budget: int, trials: Iterable[Trial] = ()
    ) -> None:
        self.size = size
        self.allowance = max(size, budget // _SHARES)
        self._space = space
        self._groups: dict[str, Group] = {}
        for trial in trials:
            if trial.population is not None:
                self.add(trial.population, trial)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def __getitem__(self, name: str) -> Group:
        return self._groups[name]

    def add(self, name: str, trial: Trial) -> Group:
        """The group `name` with a trial more, which founds it if it is the first."""
        if name not in self._groups:
            self._groups[name] = Group(name, self.settings(trial.config))
        self._groups[name].members.append(trial.number)
        return self._groups[name]

    def settings(self, config: Config) -> Config:
        """What a configuration has in common with the members of its population."""
        shared = shared_settings(config)
        return {name: shared[name] for name in shared if name in self._space.parameters}

    def left(self, group: Group) -> int:
        """How many more trials may be proposed for the group."""
        return -len(group.members) % self.allowance

    def alike(self, config: Config, among: Collection[str]) -> Group | None:
        """The first of the groups named in `among` that the configuration fits."""
        settings = self.settings(config)
        return next((g for g in self if g.name in among and g.settings == settings), None)

    def new_name(self, number: int) -> str:
        """The name of a group that trial `number` founds."""
        name = f"p{number}"
        while name in self._groups:  # the record of its first trial was damaged
            name += "+"
        return name
