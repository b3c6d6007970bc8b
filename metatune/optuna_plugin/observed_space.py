"""The search space of a study whose objective makes it up as it runs.

Ranges are the widest that were asked for or tried, on the scale asked for last. A parameter that
some trials lack is conditional where the value of one other parameter explains that in every trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution

from metatune.optuna_plugin.distributions import parameter_of
from metatune.parameters import Categorical, Float, Integer, Parameter, Value, is_number, same
from metatune.space import Config, SearchSpace

# A whole number of more values is not taken for what decides whether another parameter exists.
_MOST_VALUES = 32

When = dict[str, dict[str, tuple[Value, ...]]]


class ObservedSpace:
    """What the trials seen so far tell of their space.

    `assumed` is a space that the study is thought to have: its parameters and conditions hold until
    a trial contradicts them, while ranges and choices are those observed. `distributions` are those
    asked for last, and `changes` counts how often another one was asked for.
    """

    def __init__(self) -> None:
        self.assumed: SearchSpace | None = None
        self.distributions: dict[str, BaseDistribution] = {}
        self.changes = 0
        self._parameters: dict[str, Parameter] = {}
        self._whole: list[Config] = []
        self._unexplained = False
        self._space: SearchSpace | None = None
        self._current = False

    def assume(self, space: SearchSpace | None) -> None:
        """Take `space` for what the study's is thought to be."""
        if space != self.assumed:
            self.assumed, self._current = space, False

    def add(
        self, distributions: Mapping[str, BaseDistribution], config: Config, whole: bool
    ) -> None:
        """Learn from one trial. `whole` where it asked for all that it would ever ask for, so that
        what it lacks does not exist in it."""
        for name, distribution in distributions.items():
            if self.distributions.get(name) != distribution:
                self._widen(name, distribution)
        for name, value in config.items():
            self._hold(name, value)
        if whole:
            self._whole.append(config)
            self._current = self._current and self._agrees(config)

    def space(self) -> SearchSpace | None:
        """The space as known by now, None before there is any; its parameters by name, parents
        before children."""
        if not self._current:
            self._space, self._current = self._made(), True
        return self._space

    def _widen(self, name: str, distribution: BaseDistribution) -> None:
        self.distributions[name] = distribution
        self.changes += 1
        parameter, before = parameter_of(distribution), self._parameters.get(name)
        if parameter is None:
            return
        if before is not None:
            parameter = _union(before, parameter)
        if parameter != before:
            self._parameters[name] = parameter
            self._current = False

    def _hold(self, name: str, value: Value) -> None:
        """Widen a range to a value beyond it, which Optuna takes where its user enqueued it."""
        parameter = self._parameters.get(name)
        if is_number(value) and parameter is not None and not parameter.contains(value):
            self._parameters[name] = _union(parameter, Categorical((value,)))
            self._current = False

    def _agrees(self, config: Config) -> bool:
        """Whether a whole trial has those parameters that exist in it by the space so far. What
        is not explained yet may be explained by any further trial."""
        space = self._space
        if space is None or self._unexplained:
            return False
        return all(
            (name in config) == _holds(space.when.get(name, {}), config)
            for name in space.parameters
        )

    def _has_throughout(self, name: str, condition: Mapping[str, Sequence[Value]]) -> bool:
        """Whether whole trials have a parameter exactly where its condition holds."""
        return all((name in config) == _holds(condition, config) for config in self._whole)

    def _made(self) -> SearchSpace | None:
        parameters = dict(self._parameters)
        when: When = {}
        if self.assumed is not None:
            parameters, when = _changed(self.assumed, parameters)
        conditions: When = {}
        self._unexplained = False
        for name in list(parameters):  # those assumed first, and of these the parents first
            condition = when.get(name, {})
            is_possible = all(parent in parameters for parent in condition)
            if is_possible and self._has_throughout(name, condition):
                conditions[name] = condition
            elif name not in self._parameters:
                del parameters[name]
            else:
                found = _explanation(name, parameters, self._whole)
                self._unexplained |= found is None
                conditions[name] = found or {}
        return _ordered(parameters, conditions) if parameters else None


def _union(a: Parameter, b: Parameter) -> Parameter:
    """What holds the values of both, on the scale of `b`."""
    if isinstance(a, Categorical) and isinstance(b, Categorical):
        new = tuple(choice for choice in b.choices if not a.contains(choice))
        return Categorical(a.choices + new) if new else a
    numbers = [end for parameter in (a, b) for end in _ends(parameter)]
    low, high = min(numbers), max(numbers)
    last = a if isinstance(b, Categorical) else b  # the other may be a constant
    log = low > 0 and not isinstance(last, Categorical) and last.log
    if all(isinstance(parameter, Integer | Categorical) for parameter in (a, b)):
        return Integer(int(low), int(high), log)
    return Float(low, high, log)


def _ends(parameter: Parameter) -> list[int | float]:
    """The ends of a range, or the numbers among constants."""
    if isinstance(parameter, Categorical):
        return [choice for choice in parameter.choices if is_number(choice)]
    return [parameter.low, parameter.high]


def _holds(condition: Mapping[str, Sequence[Value]], config: Mapping[str, Value]) -> bool:
    return all(
        parent in config and any(same(config[parent], value) for value in values)
        for parent, values in condition.items()
    )


def with_parameter(space: SearchSpace, name: str, asked: BaseDistribution) -> SearchSpace:
    """The space with parameter `name` as it was asked for; what cannot exist then is dropped."""
    parameter = parameter_of(asked)
    if parameter is None:
        return space
    return _ordered(*_changed(space, {name: parameter}))


def _changed(
    space: SearchSpace, changes: Mapping[str, Parameter]
) -> tuple[dict[str, Parameter], When]:
    """Parameters and conditions of `space` with some parameters added or replaced, without those
    of the others that can no longer exist."""
    parameters = {**space.parameters, **changes}
    when: When = {}
    for child in [name for name in space.names if name in space.when]:  # parents come first
        conditions = {
            parent: tuple(v for v in values if parameters[parent].contains(v))
            for parent, values in space.when[child].items()
            if parent in parameters and not isinstance(parameters[parent], Float)
        }
        if len(conditions) == len(space.when[child]) and all(conditions.values()):
            when[child] = conditions
        elif child not in changes:
            del parameters[child]
    return parameters, when


def _explanation(
    child: str, parameters: Mapping[str, Parameter], configs: Sequence[Config]
) -> dict[str, tuple[Value, ...]] | None:
    """The condition on one other parameter that tells exactly which of the trials have `child`;
    None where there is none. Of several the first by name, choices before whole numbers.

    Only a parameter that more trials have can be the reason. Values that it has not had yet are
    taken for some with which `child` exists: what is planned in vain does no harm.
    """
    having = [config for config in configs if child in config]
    lacking = [config for config in configs if child not in config]
    for parent in sorted(parameters, key=lambda n: (isinstance(parameters[n], Integer), n)):
        without = [config[parent] for config in lacking if parent in config]
        if not without or not all(parent in config for config in having):
            continue
        values = _values(parameters[parent])
        kept = tuple(v for v in values if not any(same(v, other) for other in without))
        if kept and all(any(same(c[parent], v) for v in kept) for c in having):
            return {parent: kept}
    return None


def _values(parameter: Parameter) -> tuple[Value, ...]:
    """All the values that a parameter has, none where there are many."""
    if isinstance(parameter, Categorical):
        return parameter.choices
    if isinstance(parameter, Integer) and parameter.high - parameter.low < _MOST_VALUES:
        return tuple(range(parameter.low, parameter.high + 1))
    return ()


def _ordered(parameters: Mapping[str, Parameter], when: When) -> SearchSpace:
    """The space with its parameters by name, parents before children."""
    names: list[str] = []
    waiting = sorted(parameters)
    while waiting:
        ready = next(n for n in waiting if set(when.get(n, {})) <= set(names))
        names.append(ready)
        waiting.remove(ready)
    return SearchSpace({name: parameters[name] for name in names}, when)
