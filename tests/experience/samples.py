"""Studies and trials to store, made by hand and by hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from metatune.parameters import Categorical, Float
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Checkpoint, Report, Suggestion, Trial, TrialState

SPACE = SearchSpace({"lr": Float(1e-5, 1e-1, log=True), "optimizer": Categorical(("sgd", "adamw"))})
TASK = Task("digits", metric="accuracy", direction="maximize", data_hash="d1")


def make_study(name: str = "s", task: Task = TASK, space: SearchSpace = SPACE) -> Study:
    """A study of the sample task and space."""
    return Study(name, task, space, seed=1, trials=10)


def make_trial(number: int = 0, study: str = "s", **values: Any) -> Trial:
    """A trial that has ended, unless `values` say otherwise."""
    defaults: dict[str, Any] = {
        "suggestion": Suggestion({"lr": 0.01, "optimizer": "sgd"}, "random"),
        "seed": number,
        "state": TrialState.COMPLETE,
        "curve": (Report(1, 0.25, 0.5), Report(2, 0.5, 1.0)),
        "value": 0.5,
        "finished_index": number,
        "cost": 1.0,
    }
    return Trial(study, number, **{**defaults, **values})


def running(number: int = 0, study: str = "s", **values: Any) -> Trial:
    """A trial that has not ended."""
    nothing = {"state": TrialState.RUNNING, "curve": (), "value": None, "finished_index": None}
    return make_trial(number, study, **{**nothing, **values})


_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_FLOATS = st.floats()
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_SUGGESTIONS = st.builds(
    Suggestion,
    config=st.dictionaries(
        st.text(), st.text() | st.integers() | _FLOATS | st.booleans() | st.none(), max_size=4
    ),
    optimizer=st.text(),
    tasks=st.dictionaries(st.text(), _FLOATS, max_size=3),
    predicted=st.none() | _FLOATS,
    uncertainty=st.none() | _FLOATS,
    guarded=st.booleans(),
)
_CURVES = st.lists(st.builds(Report, _INTEGERS, _FLOATS, _FLOATS), max_size=4).map(tuple)


def trials(study: str) -> st.SearchStrategy[Trial]:
    """Any trial of a study."""
    return st.builds(
        Trial,
        study=st.just(study),
        number=st.integers(0, 5),
        suggestion=_SUGGESTIONS,
        seed=_INTEGERS,
        state=st.sampled_from(TrialState),
        curve=_CURVES,
        value=st.none() | _FLOATS,
        finished_index=st.none() | st.integers(0, 2**63 - 1),
        revision=st.integers(0, 3),
        cost=_FLOATS,
        population=st.none() | st.text(),
        checkpoint=st.none() | st.builds(Checkpoint, st.text(), _INTEGERS, _FLOATS),
        error=st.none() | st.text(),
        training=st.dictionaries(st.text(), _JSON, max_size=3),
    )


def exactly(value: Any) -> str:
    """Text that is equal for values that are: NaN equals itself, 0.0 differs from -0.0, and the
    order of keys counts in configurations alone."""
    if isinstance(value, Mapping):
        return repr(sorted((repr(key), exactly(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return repr([exactly(item) for item in value])
    if isinstance(value, Suggestion):
        return exactly([list(value.config), vars(value)])
    if isinstance(value, Trial | Report | Checkpoint):
        return exactly(vars(value))
    return repr(value)
