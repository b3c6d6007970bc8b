"""The optimizers and search spaces of the conformance suite.

A new optimizer joins by one line in OPTIMIZERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metatune.experience.past import PastTask
from metatune.optimizers.auto import ByCost, auto
from metatune.optimizers.cma_es import CMAES
from metatune.optimizers.meta_random import MetaRandomSearch
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.optuna_samplers import GP, TPE
from metatune.optimizers.portfolio import Portfolio
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.surrogate_forest import ForestSurrogate
from metatune.optimizers.surrogate_gp import GaussianProcessSurrogate
from metatune.optimizers.surrogate_network import NetworkSurrogate
from metatune.optimizers.surrogate_search import SurrogateSearch
from metatune.optimizers.surrogate_svr import SupportVectorSurrogate
from metatune.optimizers.transfer import Transfer
from metatune.optimizers.transfer_model import TransferModel, fit
from metatune.parameters import Categorical, Float, Integer, Parameter
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Report, Suggestion, Trial, TrialState, derive_seed

# Fresh ones for a space; a Gaussian process is slow, so it starts late.
OPTIMIZERS: Mapping[str, Callable[[SearchSpace], MetaOptimizer]] = {
    "random": lambda space: RandomSearch(),
    "tpe": lambda space: TPE(startup_trials=5),
    "gp": lambda space: GP(startup_trials=18),
    "cmaes": lambda space: CMAES(),
    "portfolio": lambda space: Portfolio(past_tasks(space), size=6, then=TPE(startup_trials=5)),
    "portfolio without past": lambda space: Portfolio([], then=RandomSearch()),
    "transfer": lambda space: Transfer(GivenMemory(space, past_tasks(space)).model() or []),
    "transfer without past": lambda space: Transfer([]),
    "by cost": lambda space: ByCost(GP(startup_trials=18), TPE(startup_trials=5)),
    "auto": lambda space: auto(GivenMemory(space, past_tasks(space))),
    "auto without past": lambda space: auto(GivenMemory(space, [])),
    "meta-random": lambda space: MetaRandomSearch(),
    "surrogate-gp": lambda space: SurrogateSearch(GaussianProcessSurrogate(), startup_trials=17),
    "surrogate-forest": lambda space: SurrogateSearch(
        ForestSurrogate(trees=4), past_tasks(space), startup_trials=16
    ),
    "surrogate-svr": lambda space: SurrogateSearch(
        SupportVectorSurrogate(bags=3), startup_trials=17
    ),
    "surrogate-network": lambda space: SurrogateSearch(
        NetworkSurrogate(members=2, steps=10), startup_trials=17
    ),
}

SPACES: Mapping[str, SearchSpace] = {
    "floats": SearchSpace({"a": Float(-1.0, 1.0), "b": Float(0.0, 1000.0)}),
    "log": SearchSpace({"a": Float(1e-6, 1.0, log=True), "b": Float(1e-3, 1e3, log=True)}),
    "integers": SearchSpace(
        {
            "a": Integer(-3, 3),
            "b": Integer(1, 512, log=True),
            "c": Integer(0, 10**9),
            "d": Integer(1, 10**9, log=True),
        }
    ),
    "choices": SearchSpace(
        {
            "a": Categorical(("x", "y", "z")),
            "b": Categorical((None, True, 1, 0.5)),
            "c": Categorical((16, 32, 64, 128, 256), ordered=True),
            "d": Categorical(("small", "large"), ordered=True),
        }
    ),
    "tree": SearchSpace(
        {
            "optimizer": Categorical(("sgd", "adamw", "lbfgs")),
            "learning_rate": Float(1e-5, 1e-1, log=True),
            "depth": Integer(1, 4),
            "momentum": Float(0.0, 0.99),
            "nesterov": Categorical((True, False)),
            "warmup": Integer(1, 100, log=True),
            "width": Integer(8, 64),
        },
        {
            "momentum": {"optimizer": ("sgd",)},
            "nesterov": {"optimizer": ("sgd",)},
            "warmup": {"nesterov": (True,), "depth": (2, 3, 4)},
            "width": {"depth": (3, 4)},
        },
    ),
    "one point": SearchSpace({"a": Categorical(("only",)), "b": Categorical((1,), ordered=True)}),
    "one float": SearchSpace({"a": Float(0.0, 1.0)}),
    "one choice of two": SearchSpace({"a": Categorical(("x", "y"))}),
    "15 dimensions": SearchSpace(
        {f"x{i}": Float(0.0, 1.0) if i % 3 else Integer(0, 20) for i in range(15)}
    ),
}


# Where every configuration there is gets compared, what is known decides alone.
SEEDLESS = {
    ("transfer", "choices"),
    ("auto", "choices"),
    ("transfer", "one choice of two"),
    ("auto", "one choice of two"),
    ("transfer without past", "one choice of two"),
    ("surrogate-forest", "one choice of two"),
}

_MODELS: dict[str, TransferModel | None] = {}


@dataclass(frozen=True)
class GivenMemory:
    """Memory of these past tasks."""

    space: SearchSpace
    past: Sequence[PastTask]

    def past_tasks(self) -> Sequence[PastTask]:
        """These."""
        return self.past

    def sample(self) -> Sequence[PastTask]:
        """These."""
        return self.past

    def model(self) -> TransferModel | None:
        """Fitted to these, once in a process: that takes a second."""
        key = f"{self.space.id} {self.past!r}"
        if key not in _MODELS:
            _MODELS[key] = fit(self.past, self.space, 0)
        return _MODELS[key]


def value_of(space: SearchSpace, config: Config) -> float:
    """A smooth value to be minimised, at best 0 at a third of every range."""
    vector = space.encode(config)
    return float(np.mean((vector[~np.isnan(vector)] - 1.0 / 3.0) ** 2))


def study_of(space: SearchSpace, seed: int = 0) -> Study:
    """A study of `space`."""
    return Study("study", Task("task", metafeatures={"rows": 500.0}), space, seed=seed)


def ended(
    number: int, suggestion: Suggestion, value: float, state: TrialState = TrialState.COMPLETE
) -> Trial:
    """A trial that ended with `value`, in order of number."""
    curve = (Report(1, value + 1.0, 1.0), Report(2, value, 2.0))
    kept = value if math.isfinite(value) and state is not TrialState.FAILED else None
    return Trial(
        "study",
        number,
        suggestion,
        derive_seed(0, number, 1),
        state=state,
        curve=curve,
        value=kept,
        finished_index=number,
    )


def lived(
    optimizer: MetaOptimizer,
    space: SearchSpace,
    seed: int,
    count: int,
    value: Callable[[SearchSpace, Config], float] = value_of,
) -> list[Trial]:
    """The trials of a study of `count`, one after the other."""
    study = study_of(space, seed)
    trials: list[Trial] = []
    for number in range(count):
        suggestion = optimizer.suggest(study, trials, 1, seed)[0]
        trials.append(ended(number, suggestion, value(space, suggestion.config)))
    return trials


def best_of(trials: Sequence[Trial]) -> float:
    """The lowest value of trials that ended."""
    return min(trial.value for trial in trials if trial.value is not None)


def past_tasks(space: SearchSpace) -> list[PastTask]:
    """Two tasks tried in a space like `space`: ranges moved, a choice and a parameter more, and
    for the second task a parameter fewer."""
    parameters = {name: _moved(p) for name, p in space.parameters.items()}
    parameters["unknown here"] = Float(0.0, 1.0)
    wide = SearchSpace(parameters, space.when)
    last = space.names[-1]
    rest = {name: p for name, p in parameters.items() if name != last or len(space) == 1}
    narrow = SearchSpace(rest, {name: c for name, c in space.when.items() if name in rest})
    return [
        PastTask(Task("near", metafeatures={"rows": 400.0}), wide, _tried(wide, 1)),
        PastTask(Task("far", metafeatures={"rows": 90000.0}), narrow, _tried(narrow, 2)),
    ]


def _moved(parameter: Parameter) -> Parameter:
    if isinstance(parameter, Categorical):
        return replace(parameter, choices=(*parameter.choices, "unknown choice"))
    if isinstance(parameter, Integer):
        return replace(parameter, high=parameter.high + 7)
    return replace(parameter, high=parameter.high * 2.0)


def _tried(space: SearchSpace, seed: int) -> tuple[Trial, ...]:
    trials = lived(RandomSearch(), space, seed, 15)
    failed = [ended(15, trials[0].suggestion, math.nan, TrialState.FAILED)]
    return (*trials, *failed)
