"""Initializations that were learned across tasks: kept in a store, named in a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from metatune.errors import SpaceError
from metatune.experience.store import ExperienceStore
from metatune.networks.initializers import LEARNED
from metatune.networks.own_code import is_own
from metatune.orchestration.known_weights import INITIALIZATIONS
from metatune.orchestration.problem import Problem
from metatune.parameters import Categorical, Value
from metatune.trial import Trial


def put_initialization(
    store: ExperienceStore, record: Mapping[str, Any], weights: Mapping[str, torch.Tensor]
) -> str:
    """Keep what `learn_initialization` gave for the `network` of the record; its id."""
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    return store.put_model(INITIALIZATIONS, record, arrays)


def with_initializations(
    problem: Problem, store: ExperienceStore, study: str, known: Sequence[Trial]
) -> Problem:
    """The problem with the latest learned initialization of each network that the space has, where
    it has the choice "learned"; of a study that has trials, with those that it began with.

    Raises SpaceError for a network that none was learned for.
    """
    parameters = problem.space.parameters
    initializer, network = parameters.get("initializer"), parameters.get("network")
    if problem.dataset is None or not _has(initializer, LEARNED):
        return problem
    before = store.find_study(study) if known else None
    if before is not None and INITIALIZATIONS in before.training:
        found = before.training[INITIALIZATIONS]
    else:
        latest = {record.get("network"): name for name, record in store.models(INITIALIZATIONS)}
        names = network.choices if isinstance(network, Categorical) else ()
        for name in names:
            if is_own(name):
                raise SpaceError(
                    f"[initializer] choices: {LEARNED!r} is not for the network {name!r}; "
                    f"initializations are learned for built-in networks alone"
                )
            if name not in latest:
                raise SpaceError(
                    f"[initializer] choices: {LEARNED!r} for the network {name!r} is not in the "
                    f"store {store.uri}; `metatune learn --initialization {problem.space_name}` "
                    f"learns it"
                )
        found = {str(name): latest[name] for name in names}
    return replace(problem, training={**problem.training, INITIALIZATIONS: found})


def _has(parameter: object, choice: Value) -> bool:
    return isinstance(parameter, Categorical) and choice in parameter.choices
