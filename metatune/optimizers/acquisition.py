"""Where to try next: expected improvement and the configurations it is compared at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm, qmc

from metatune.parameters import Categorical, Parameter, Value, Vectors
from metatune.space import Config, SearchSpace

_STEPS = (0.02, 0.1, 0.3)
_CHANGED = 0.4


def expected_improvement(mean: Vectors, deviation: Vectors, best: float) -> Vectors:
    """How far below `best` values of these means and standard deviations [n] lie, expected.

    Jones et al. (1998), equation 15.
    """
    z = (best - mean) / deviation
    improvement: Vectors = deviation * np.maximum(z * ndtr(z) + norm.pdf(z), 0.0)
    return improvement


def spread_out(
    space: SearchSpace, count: int, seed: int, given: Mapping[str, Value]
) -> list[Config]:
    """Up to `count` different configurations spread evenly (scrambled Sobol points), with the
    `given` values in them."""
    rng = np.random.default_rng(seed)
    power = int(np.ceil(np.log2(count)))
    vectors = qmc.Sobol(len(space), rng=rng).random_base2(power)[:count]
    return _different(space, vectors, given)


def near(
    space: SearchSpace,
    config: Config,
    count: int,
    rng: np.random.Generator,
    given: Mapping[str, Value],
) -> list[Config]:
    """Up to `count` different configurations near `config`: some parameters moved by about a
    fiftieth to a third of their range, or drawn anew where they are unordered choices."""
    centre = space.encode(config)
    size = (count, len(space))
    absent = np.isnan(centre)
    steps = rng.choice(_STEPS, size=(count, 1)) * rng.standard_normal(size)
    changed = rng.random(size) < max(_CHANGED, 1.0 / len(space))
    changed[np.arange(count), rng.integers(len(space), size=count)] = True
    moved = _reflected(np.where(absent, 0.0, centre) + steps)
    choices = [isinstance(p, Categorical) and not p.ordered for p in space.parameters.values()]
    fresh = rng.random(size)
    moved = np.where(np.asarray(choices) | absent, fresh, moved)
    return _different(space, np.where(changed | absent, moved, centre), given)


def _reflected(positions: Vectors) -> Vectors:
    """Positions brought back into [0, 1] at the ends."""
    folded = np.abs(positions) % 2.0
    inside: Vectors = np.where(folded > 1.0, 2.0 - folded, folded)
    return inside


def _different(space: SearchSpace, vectors: Vectors, given: Mapping[str, Value]) -> list[Config]:
    found: dict[str, Config] = {}
    for vector in vectors:
        place = dict(zip(space.parameters, vector.tolist(), strict=True))

        def choose(name: str, parameter: Parameter, place: Mapping[str, float] = place) -> Value:
            return given[name] if name in given else parameter.from_unit(place[name])

        config = space.build(choose)
        found.setdefault(repr(config), config)
    return list(found.values())
