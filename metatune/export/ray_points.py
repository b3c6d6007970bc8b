"""Configurations for `points_to_evaluate` of Ray Tune's searchers."""

from __future__ import annotations

import json
from collections.abc import Sequence

from metatune.space import Config
from metatune.trial import Trial


def points(trials: Sequence[Trial]) -> list[Config]:
    """The configurations of trials, in their order, each once."""
    found: dict[str, Config] = {}
    for trial in trials:
        found.setdefault(json.dumps(trial.config, sort_keys=True), dict(trial.config))
    return list(found.values())


def to_text(configs: Sequence[Config]) -> str:
    """Configurations as a JSON list; inactive parameters are absent.

    Where there are such, Ray's OptunaSearch takes the points for a space that is a function, and
    refuses them for one that is a dictionary; Ray's own generator draws what is absent.
    """
    return json.dumps(list(configs), indent=2) + "\n"
