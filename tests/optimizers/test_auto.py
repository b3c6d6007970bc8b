from __future__ import annotations

from optimizer_cases import SPACES, past_tasks

from metatune.optimizers.auto import auto
from metatune.parameters import Float
from metatune.space import SearchSpace


def test_a_portfolio_comes_first_where_a_past_task_is_related() -> None:
    past = past_tasks(SPACES["tree"])
    assert str(auto(SPACES["tree"], past)) == "portfolio(size=8) then tpe(startup=10)"


def test_without_related_experience_it_is_tpe() -> None:
    assert str(auto(SPACES["tree"], [])) == "tpe(startup=10)"
    other = SearchSpace({"colour": Float(0.0, 1.0)})
    assert str(auto(other, past_tasks(SPACES["tree"]))) == "tpe(startup=10)"
