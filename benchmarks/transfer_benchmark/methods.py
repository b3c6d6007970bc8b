"""The methods that are compared: the one place where one is added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from metatune.experience.past import PastTask
from metatune.optimizers.cma_es import CMAES
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.optuna_samplers import GP, TPE
from metatune.optimizers.portfolio import Portfolio
from metatune.optimizers.transfer import Transfer
from metatune.space import Config, SearchSpace
from transfer_benchmark.pool import GreedyPortfolio, PoolRandom
from transfer_benchmark.rgpe import RGPE

Past = Sequence[PastTask]
Pool = Sequence[Config] | None
# (past tasks, space, pool to choose from or None, seed) -> optimizer
Make = Callable[[Past, SearchSpace, Pool, int], MetaOptimizer]

# The method that is compared with the others, and its form without past tasks.
OURS, ALONE = "transfer", "transfer-alone"
# The baselines, and under which names they are run once more with other seeds.
AGAIN = {"tpe": "tpe-again", "gp": "gp-again"}
# A portfolio's length where something else follows it.
_SIZE = 8


@dataclass(frozen=True)
class Method:
    """How a method is made. `remembers`: whether it looks at past tasks. `salt` makes its seeds
    differ from those of the same method under another name. `slow` ones are run on fewer seeds.
    `needs` is a package of the extra `peers`. Cached runs of another `version` are run again."""

    make: Make
    remembers: bool = True
    salt: int = 0
    slow: bool = False
    needs: str = ""
    version: str = "1"


def _smac(past: Past, space: SearchSpace, pool: Pool, seed: int) -> MetaOptimizer:
    from transfer_benchmark.smac_peer import SMAC  # needs the extra `peers`

    return SMAC()


def _quantile(past: Past, space: SearchSpace, pool: Pool, seed: int) -> MetaOptimizer:
    from transfer_benchmark.quantile import Quantile  # needs the extra `peers`

    return Quantile(past, pool)


METHODS: dict[str, Method] = {
    OURS: Method(lambda past, space, pool, seed: Transfer(past, pool), version="7"),
    ALONE: Method(lambda past, space, pool, seed: Transfer([], pool), remembers=False),
    "random": Method(
        lambda past, space, pool, seed: PoolRandom(pool), remembers=False, version="2"
    ),
    "tpe": Method(lambda past, space, pool, seed: TPE(), remembers=False, version="2"),
    "gp": Method(lambda past, space, pool, seed: GP(), remembers=False, version="2", slow=True),
    "cma-es": Method(lambda past, space, pool, seed: CMAES(), remembers=False, version="2"),
    # The baselines once more with other seeds: what harm looks like where there is none.
    "tpe-again": Method(
        lambda past, space, pool, seed: TPE(), remembers=False, version="2", salt=1
    ),
    "gp-again": Method(
        lambda past, space, pool, seed: GP(), remembers=False, version="2", salt=1, slow=True
    ),
    "portfolio": Method(lambda past, space, pool, seed: Portfolio(past, size=100)),
    "portfolio-greedy": Method(lambda past, space, pool, seed: GreedyPortfolio(past, pool)),
    "portfolio-tpe": Method(
        lambda past, space, pool, seed: GreedyPortfolio(past, pool, _SIZE, TPE(_SIZE))
    ),
    "portfolio-gp": Method(
        lambda past, space, pool, seed: GreedyPortfolio(past, pool, _SIZE, GP(_SIZE)), slow=True
    ),
    "rgpe": Method(lambda past, space, pool, seed: RGPE(past, pool)),
    "smac": Method(_smac, remembers=False, version="2", slow=True, needs="smac"),
    "quantile": Method(_quantile, slow=True, needs="syne_tune"),
}


def is_installed(method: str) -> bool:
    """Whether the package that a method needs is there."""
    needs = METHODS[method].needs
    return not needs or find_spec(needs) is not None
