"""A search space of networks so small that many of them are soon trained, and searches of them that
can be repeated to the last bit.

Usage: small_networks.py ARGUMENT ...: the command line, with what else is measured pinned.
"""

from __future__ import annotations

from dataclasses import replace

from metatune import Categorical, Float, Integer, SearchSpace
from metatune.cli import main
from metatune.orchestration import search
from metatune.orchestration.problem import Problem, fused

SMALL = SearchSpace(
    {
        "network": Categorical(("mlp",)),
        "depth": Categorical((1,)),
        "width": Integer(4, 6),
        "activation": Categorical(("relu",)),
        "normalization": Categorical(("none",)),
        "dropout": Float(0, 0.2),
        "initializer": Categorical(("default",)),
        "optimizer": Categorical(("adam",)),
        "learning_rate": Float(1e-3, 1e-1, log=True),
        "beta1": Float(0.8, 0.95),
        "beta2": Float(0.9, 0.999),
        "weight_decay": Float(1e-6, 1e-2, log=True),
        "gradient_clipping": Categorical((False,)),
        "schedule": Categorical(("constant", "cosine")),
        "final_fraction": Float(0.01, 0.5, log=True),
        "batch_size": Categorical((16, 32), ordered=True),
        "loss": Categorical(("cross_entropy",)),
        "label_smoothing": Float(0, 0.2),
    },
    {"final_fraction": {"schedule": ("cosine",)}},
)


def pinned(problem: Problem, size: int, gpus: float = 0.0) -> Problem:
    """As `fused`, and four networks are computed as one: how many is else measured anew by each
    search, and numbers are rounded accordingly."""
    made = fused(problem, size, gpus)
    return replace(made, training={**made.training, "at_once": 4, "compiled": False})


if __name__ == "__main__":
    setattr(search, "fused", pinned)  # noqa: B010  # mypy: it is imported there
    main()
