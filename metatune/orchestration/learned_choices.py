"""Losses and schedules that were learned across tasks: kept in a store, named in a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from metatune.errors import SpaceError
from metatune.experience.store import ExperienceStore
from metatune.networks.losses import COEFFICIENTS, losses_for
from metatune.networks.own_code import is_own
from metatune.networks.schedules import POINTS, SCHEDULES
from metatune.orchestration.problem import Problem
from metatune.parameters import Categorical
from metatune.trial import Trial

Kind = Literal["loss", "schedule"]

# Under which a store keeps them, beside the models of spaces.
_PLACE = "choices"
BUILT_IN: Mapping[Kind, Sequence[str]] = {
    "loss": [*losses_for("classification"), *losses_for("regression")],
    "schedule": SCHEDULES,
}
# The settings that make one.
SETTINGS: Mapping[Kind, Sequence[str]] = {"loss": list(COEFFICIENTS), "schedule": POINTS}
# Where they stand in what is known of a training, see networks.learned.
_RECORDED: Mapping[Kind, str] = {"loss": "losses", "schedule": "schedules"}


@dataclass(frozen=True)
class Choice:
    """A learned choice of the setting `kind`: the `values` of the settings that make it. `record`
    says from what it was learned."""

    kind: Kind
    name: str
    values: Mapping[str, float]
    record: Mapping[str, Any]


def put_choice(store: ExperienceStore, choice: Choice) -> str:
    """Keep a choice in the place of an earlier one of its name; its id."""
    record = {"kind": choice.kind, "name": choice.name, **choice.record}
    values = np.array([choice.values[name] for name in SETTINGS[choice.kind]])
    return store.put_model(_PLACE, record, {"values": values})


def choices(store: ExperienceStore) -> list[Choice]:
    """The choices in a store, the latest of each kind and name."""
    found = {}
    for name, record in store.models(_PLACE):
        for kind, settings in SETTINGS.items():
            if record.get("kind") == kind:
                _, arrays = store.model(_PLACE, name)
                values = dict(zip(settings, arrays["values"].tolist(), strict=True))
                found[kind, record["name"]] = Choice(kind, record["name"], values, record)
    return list(found.values())


def with_learned(
    problem: Problem, store: ExperienceStore, study: str, known: Sequence[Trial]
) -> Problem:
    """The problem with what its space names of the learned choices; those of a study that has
    trials are the ones that it began with.

    Raises SpaceError for a choice that is neither built in nor learned.
    """
    if problem.dataset is None:
        return problem
    before = store.find_study(study) if known else None
    training = dict(problem.training)
    stored: list[Choice] | None = None
    for kind in SETTINGS:
        named = _named(problem, kind)
        if not named:
            continue
        key = _RECORDED[kind]
        if before is not None and key in before.training:
            training[key] = before.training[key]
            continue
        stored = choices(store) if stored is None else stored
        values = {choice.name: dict(choice.values) for choice in stored if choice.kind == kind}
        for name in named:
            if name not in values:
                raise SpaceError(
                    f"[{kind}] choices: {name!r} is neither one of {list(BUILT_IN[kind])} nor a "
                    f"{kind} that the store {store.uri} has; `metatune learn --{kind} {name}` "
                    f"learns one"
                )
        training[key] = {name: values[name] for name in named}
    return replace(problem, training=training)


def _named(problem: Problem, kind: Kind) -> list[str]:
    """The choices of a space that are not built in."""
    parameter = problem.space.parameters.get(kind)
    names = parameter.choices if isinstance(parameter, Categorical) else ()
    return [str(name) for name in names if name not in BUILT_IN[kind] and not is_own(name)]
