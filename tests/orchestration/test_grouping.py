"""Which trials form a population: a function of the trials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune import Categorical, Float, Integer, SearchSpace, Trial
from metatune.errors import InputError
from metatune.orchestration.grouping import Grouping, check_size
from metatune.space import Config
from metatune.trial import Suggestion

SPACE = SearchSpace(
    {
        "network": Categorical(("mlp",)),
        "width": Integer(1, 3),
        "learning_rate": Float(0, 1),
        "optimizer": Categorical(("sgd", "adam")),
        "momentum": Float(0, 1),
    },
    {"momentum": {"optimizer": ("sgd",)}},
)


def trial(number: int, width: int = 1, population: str | None = None) -> Trial:
    config: Config = {"network": "mlp", "width": width, "learning_rate": 0.5}
    config["optimizer"] = "adam"
    return Trial("s", number, Suggestion(config, "random"), 0, population=population)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "4"])
def test_what_is_no_size_is_refused_in_one_line(size: object) -> None:
    with pytest.raises(InputError, match=r"^population = .* must be a whole number") as caught:
        check_size(size)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_members_share_architecture_and_optimizer_and_nothing_else() -> None:
    group = Grouping(SPACE, 4, 32).add("p0", trial(0))
    assert group.settings == {"network": "mlp", "width": 1, "optimizer": "adam"}


def test_a_group_takes_its_share_of_the_budget_and_as_much_again_when_joined() -> None:
    grouping = Grouping(SPACE, 4, 192)
    group = grouping.add("p0", trial(0))
    for number in range(1, 6):
        assert grouping.left(group) == 6 - number
        grouping.add("p0", trial(number))
    assert grouping.left(group) == 0
    grouping.add("p0", trial(6))
    assert grouping.left(group) == 5


def test_a_population_is_filled_once_however_small_the_budget() -> None:
    grouping = Grouping(SPACE, 4, 8)
    assert grouping.left(grouping.add("p0", trial(0))) == 3


def test_a_proposal_joins_only_what_it_fits() -> None:
    grouping = Grouping(SPACE, 4, 48, [trial(0, 1, "p0"), trial(1, 2, "p1"), trial(2)])
    assert [group.name for group in grouping] == ["p0", "p1"]
    found = grouping.alike(trial(3, 2).config, ["p0", "p1"])
    assert found is not None
    assert found.name == "p1"
    assert grouping.alike(trial(3, 2).config, ["p0"]) is None
    assert grouping.alike(trial(3, 3).config, ["p0", "p1"]) is None


def test_a_name_is_never_given_twice() -> None:
    grouping = Grouping(SPACE, 4, 48, [trial(5, 1, "p4")])  # the record of trial 4 was damaged
    assert grouping.new_name(4) == "p4+"
    assert grouping.new_name(6) == "p6"


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5), st.integers(1, 60))
def test_rebuilt_from_the_trials_it_is_the_same(
    populations: list[int], size: int, budget: int
) -> None:
    grouping = Grouping(SPACE, size, budget)
    trials = [trial(n, population=f"p{p}") for n, p in enumerate(populations)]
    for each in trials:
        grouping.add(str(each.population), each)
    again = Grouping(SPACE, size, budget, trials)
    assert list(again) == list(grouping)
    assert [again.left(g) for g in again] == [grouping.left(g) for g in grouping]
