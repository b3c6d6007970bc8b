"""What the command line's names of optimizers stand for."""

from __future__ import annotations

import pytest
from optimizer_cases import SPACES, GivenMemory, past_tasks, study_of

from metatune.cli.searching import OptimizerName, _optimizer

SPACE = SPACES["tree"]


@pytest.mark.parametrize("name", OptimizerName)
def test_each_name_makes_what_it_says(name: OptimizerName) -> None:
    made = _optimizer(name)
    if not hasattr(made, "suggest"):
        made = made(GivenMemory(SPACE, past_tasks(SPACE)))
    (suggestion,) = made.suggest(study_of(SPACE), [], 1, 0)
    SPACE.check(suggestion.config)
    if name is not OptimizerName.AUTO:
        assert str(made).startswith(name.value)
    if name.value.startswith("surrogate"):
        assert suggestion.optimizer == name.value
        assert set(suggestion.tasks) == {"near", "far"}
