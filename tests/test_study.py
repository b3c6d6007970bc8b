from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from metatune import Categorical, Float, SearchSpace, Study, Task
from metatune.errors import StudyError

STUDY = Study(
    "s",
    Task("t", metafeatures={"rows": 10.0}, data_hash="abc"),
    SearchSpace({"x": Float(0, 1), "y": Categorical(("a", "b"))}),
    seed=1,
    trials=10,
    experience={"other": 3},
    training={"epochs": 9},
)


def test_a_study_is_read_back_equal() -> None:
    assert Study.from_dict(STUDY.to_dict()) == STUDY
    with pytest.raises(StudyError, match=r"s\.json: 'colour' is unknown"):
        Study.from_dict(STUDY.to_dict() | {"colour": "red"}, "s.json")


TURNED = SearchSpace({name: STUDY.space.parameters[name] for name in ("y", "x")})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2}, "seed = 1, not 2"),
        ({"optimizer": "tpe"}, "optimizer = 'random', not 'tpe'"),
        ({"pruner": "asha"}, "pruner = 'none', not 'asha'"),
        ({"task": Task("u", data_hash="abc")}, "task = 't', not 'u'"),
        ({"task": Task("t", data_hash="xyz")}, "data hash = 'abc', not 'xyz'"),
        ({"task": Task("t", "auc", data_hash="abc")}, "metric = 'loss', not 'auc'"),
        ({"training": {"epochs": 8}}, "epochs = 9, not 8"),
        ({"space": SearchSpace({"x": Float(0, 1)})}, "parameter y"),
        ({"space": SearchSpace({**STUDY.space.parameters, "z": Float(0, 1)})}, "parameter z"),
        ({"space": TURNED}, "in the order"),
    ],
)
def test_another_setting_makes_another_study(change: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match="study 's' was started with") as caught:
        STUDY.check_same(replace(STUDY, **change))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_no_proposal_depends_on_may_differ() -> None:
    STUDY.check_same(replace(STUDY, trials=99, experience={}, versions={"ray": "3"}))
    elsewhere = replace(STUDY, training={"epochs": 9, "data": "/other/folder/t.csv"})
    STUDY.check_same(elsewhere)
