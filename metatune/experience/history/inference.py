"""The search space that trials were drawn from, where their source does not say.

Values say little: what is inferred is shown for confirmation, each with its reason, and what a
source says of a parameter holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from metatune.errors import ConfigurationError, SpaceError
from metatune.experience.history.conditions import in_order, infer_conditions
from metatune.experience.history.found import FoundTrial
from metatune.experience.history.literals import is_missing, number, parsed
from metatune.experience.history.scales import number_range
from metatune.parameters import (
    LARGEST_INTEGER,
    Categorical,
    Float,
    Parameter,
    Value,
    is_number,
    same,
)
from metatune.space import Config, SearchSpace
from metatune.trial import TrialState

# So many different texts, and not one for most trials, are choices.
_MOST_CHOICES = 20
_FEW_CHOICES = 3
# Numbers beside None or an infinity that are choices, and no range of which that is outside.
_MOST_BESIDE_NONE = 5
_INFINITE = ("inf", "-inf")
# Whole numbers 0, 1, 2, ... in as many trials count them.
_FEWEST_COUNTED = 10
# Seconds since 1970, from 2001 to 2065.
_TIMES = (1e9, 3e9)
_SEED = re.compile(r"(^|[^a-z])(seed|random_state|randomstate)$|randomseed$", re.IGNORECASE)
_IDENTIFIERS = {
    "a path or an address": re.compile(r"\w+://.*|~?(/[^/]+){2,}/?|[A-Za-z]:\\.*|\.{1,2}/.*"),
    "a time": re.compile(r"(19|20)\d\d-?[01]\d-?[0-3]\d([T _-]?\d\d[:_-]?\d\d.*)?"),
    "an id": re.compile(r"(?=.*\d)[0-9a-f]{8,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


@dataclass(frozen=True)
class Finding:
    """What is taken for the truth about one parameter, and why.

    `parameter` is None where it is kept out of the space; `is_said` tells that the source says it.
    """

    name: str
    parameter: Parameter | None
    reason: str
    is_said: bool = False


@dataclass(frozen=True)
class Inferred:
    """The space of some trials: None where nothing varies among them.

    `constants` have the same value wherever they have one, and are no part of the space.
    """

    space: SearchSpace | None
    findings: tuple[Finding, ...]
    constants: Mapping[str, Value] = field(default_factory=dict)


def infer(
    trials: Sequence[FoundTrial],
    said: Mapping[str, Parameter] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Inferred:
    """The space that `trials` were drawn from, of which the source `said` some parameters.

    Texts are read as what they stand for. Numbers are a range, however few they are, with the
    scale and the ends of `scales.number_range`; texts and booleans are choices. Kept out are what
    never changes, texts of which most trials have their own (names, ids, paths, times), whole
    numbers that count the trials or are times, and seeds. A parameter that some trials lack
    depends on another where that explains it perfectly, and else may be missing.
    """
    said, notes = said or {}, notes or {}
    findings, constants = [], {}
    for name in dict.fromkeys(name for trial in trials for name in trial.config):
        values = [t.config[name] for t in trials if name in t.config]
        if name in said:
            findings.append(Finding(name, said[name], notes.get(name, ""), is_said=True))
            continue
        finding = _find(name, values, lacking=len(values) < len(trials))
        if finding.parameter is None and (only := _only(values)) is not None:
            constants[name] = only[0]
        findings.append(finding)
    parameters = {f.name: f.parameter for f in findings if f.parameter is not None}
    if not parameters:
        return Inferred(None, tuple(findings), constants)
    return Inferred(_conditioned(parameters, trials), tuple(findings), constants)


def _conditioned(parameters: Mapping[str, Parameter], trials: Sequence[FoundTrial]) -> SearchSpace:
    flat = SearchSpace(parameters)
    configs, whole = [], []
    for trial in trials:
        try:
            configs.append(conform(trial.config, flat))
            whole.append(trial.state is TrialState.COMPLETE or trial.state.is_partial)
        except ConfigurationError:
            continue  # whoever imports the trial is told
    when = infer_conditions(parameters, configs, whole)
    return SearchSpace({name: parameters[name] for name in in_order(flat.names, when)}, when)


def conform(config: Mapping[str, Value], space: SearchSpace) -> Config:
    """What `config` says of the parameters of `space`, each value as its parameter has it.

    Left out are what is missing, or None where that is no choice, and what is inactive. Raises
    ConfigurationError for a value that its parameter cannot have.
    """
    found: Config = {}
    for name, parameter in space.parameters.items():
        if name in config and all(
            parent in found and any(same(found[parent], v) for v in values)
            for parent, values in space.when.get(name, {}).items()
        ):
            fitting = [v for v in _readings(config[name], parameter) if parameter.contains(v)]
            if fitting:
                found[name] = fitting[0]
            elif not is_absent(config[name]):
                raise ConfigurationError(f"{name} = {config[name]!r} is not in {parameter}")
    return found


def is_absent(value: Value) -> bool:
    """Whether a value is None or missing, which tables write where there is none."""
    return parsed(value) is None or is_missing(value)


def _readings(value: Value, parameter: Parameter) -> Iterator[Value]:
    """What a value may stand for, the likeliest first."""
    read = parsed(value)
    if isinstance(parameter, Categorical):
        yield from (value, read, str(value), str(read))
        if is_number(read):
            yield from (c for c in parameter.choices if is_number(c) and c == read)
    elif isinstance(parameter, Float):
        exact = number(value)
        if exact is not None:
            yield exact
    elif isinstance(read, float) and read.is_integer():
        yield int(read)
    else:
        yield read


def _only(values: Sequence[Value]) -> tuple[Value] | None:
    """The value that all have that have one, in a tuple; None where there are several."""
    present = {repr(read): read for v in values if not is_missing(read := parsed(v))}
    return (next(iter(present.values())),) if len(present) == 1 else None


def _find(name: str, values: Sequence[Value], lacking: bool) -> Finding:
    """What the values of a parameter say of it; `lacking` tells that some trials have none."""
    present = [value for value in values if not is_missing(value)]
    lacking = lacking or len(present) < len(values)
    read = [_finite(parsed(value)) for value in present]
    different = {repr(value): value for value in read}
    if len(different) < 2:
        what = f"always {read[0]!r}" if read else "never has a value"
        return Finding(name, None, what)
    if _SEED.search(name):
        return Finding(name, None, "a seed, by its name")
    if all(isinstance(value, bool) for value in read):
        return Finding(name, Categorical((False, True)), "true or false")
    others = [value for value in read if not is_number(value)]
    numbers = [value for value in read if is_number(value)]
    if all(value is None or value in _INFINITE for value in others) and (
        not others or len(set(numbers)) > _MOST_BESIDE_NONE
    ):
        none = others.count(None)
        beside = f"; None ({none} trials) is taken for missing" if none else ""
        found = _number(name, numbers, _is_whole(numbers, present, lacking))
        return Finding(name, found.parameter, found.reason + beside)
    return _choice(name, list(different.values()), [v for v in others if isinstance(v, str)], read)


def _finite(value: Value) -> Value:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _is_whole(numbers: Sequence[float], written: Sequence[Value], lacking: bool) -> bool:
    """Whether numbers are whole: written so, or written as decimals in a table where some trials
    lack them, which is how data frames write columns of whole numbers with gaps."""
    if all(isinstance(value, int) for value in numbers):
        return True
    as_text = all(isinstance(value, str) for value in written)
    return as_text and lacking and all(float(value).is_integer() for value in numbers)


def _number(name: str, numbers: Sequence[float], whole: bool) -> Finding:
    floats = [_float(value) for value in numbers]
    if not all(map(math.isfinite, floats)):
        return Finding(name, None, "numbers too large for a range")
    if whole and max(map(abs, floats)) > LARGEST_INTEGER:
        return Finding(name, None, "whole numbers beyond 10**12, as ids and times are")
    if whole and len(floats) >= _FEWEST_COUNTED and _counts(floats):
        return Finding(name, None, "counts the trials")
    different = set(floats)
    if len(different) == len(floats) > _FEW_CHOICES and _are_times(different):
        return Finding(name, None, "times, in seconds since 1970")
    if len(different) < 2:
        return Finding(name, None, f"always {numbers[0]!r}")
    try:
        parameter, reason = number_range(floats, whole)
    except SpaceError as error:
        return Finding(name, None, str(error))
    return Finding(name, parameter, reason)


def _float(value: float) -> float:
    found = number(value)
    return math.nan if found is None else found


def _counts(numbers: Sequence[float]) -> bool:
    """Whether these are 0, 1, 2, ... or 1, 2, 3, ..."""
    first = numbers[0]
    return first in (0, 1) and all(value == first + index for index, value in enumerate(numbers))


def _are_times(numbers: set[float]) -> bool:
    return _TIMES[0] <= min(numbers) and max(numbers) <= _TIMES[1]


def _choice(
    name: str, different: Sequence[Value], texts: Sequence[str], values: Sequence[Value]
) -> Finding:
    """Of a parameter that has `different` values among `values`, some of them `texts`."""
    count = len(different)
    for what, pattern in _IDENTIFIERS.items():
        matching = sum(pattern.fullmatch(text.strip()) is not None for text in texts)
        if texts and 2 * matching > len(texts) and count > 2:
            return Finding(name, None, f"{what} in {count} variations")
    if count > _MOST_CHOICES or (count > _FEW_CHOICES and 2 * count > len(values)):
        why = f"{count} different texts in {len(values)} trials, as names are"
        if texts and (numbers := sum(map(is_number, values))):
            why = f"{numbers} numbers beside texts such as {texts[0]!r}"
        return Finding(name, None, why)
    choices = sorted(different, key=lambda v: (type(v).__name__, v if is_number(v) else 0, str(v)))
    return Finding(name, Categorical(tuple(choices)), f"{count} different values")
