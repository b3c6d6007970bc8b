import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.networks.learned import Learned
from metatune.networks.schedules import POINTS, one_cycle, schedule
from metatune.networks.settings import Settings
from metatune.parameters import Value

CASES: list[tuple[dict[str, Value], tuple[float, float, float]]] = [
    ({"schedule": "constant"}, (1.0, 1.0, 1.0)),
    ({"schedule": "step", "step_factor": 0.5, "step_count": 1}, (1.0, 0.5, 0.5)),
    ({"schedule": "step", "step_factor": 0.5, "step_count": 2}, (1.0, 0.5, 0.25)),
    ({"schedule": "cosine", "final_fraction": 0.2}, (1.0, 0.6, 0.2)),
    ({"schedule": "warmup", "warmup_fraction": 0.5}, (0.0, 1.0, 0.0)),
    (
        {"schedule": "warmup", "warmup_fraction": 0.2},
        (0.0, 0.5 * (1 + math.cos(math.pi * 0.375)), 0.0),
    ),
    ({"schedule": "warmup", "warmup_fraction": 0.0}, (1.0, 0.5, 0.0)),
    ({"schedule": "one_cycle", "peak_fraction": 0.5}, (0.04, 1.0, 4e-6)),
    (
        {"schedule": "piecewise", **dict(zip(POINTS, (1.0, 1.0, 0.5, 0.1, 0.01), strict=True))},
        (1.0, 0.5, 0.01),
    ),
]


@pytest.mark.parametrize(("config", "expected"), CASES)
def test_values_at_the_start_in_the_middle_and_at_the_end(
    config: dict[str, Value], expected: tuple[float, float, float]
) -> None:
    settings = Settings(config)
    multiplier = schedule(settings)
    settings.check_all_read()
    assert [multiplier(p) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected)
    assert multiplier(1.7) == multiplier(1.0)


@settings(deadline=None)  # the first call may be slow
@given(st.sampled_from([config for config, _ in CASES]), st.floats(0, 1))
def test_multipliers_lie_between_0_and_1(config: dict[str, Value], progress: float) -> None:
    assert 0.0 <= schedule(Settings(config))(progress) <= 1.0


@settings(deadline=None)  # the first call may be slow
@given(st.floats(0.01, 0.99), st.integers(2, 50))
def test_one_cycle_is_that_of_torch(peak: float, steps: int) -> None:
    top = (peak * (steps + 1) - 1) / steps  # torch counts the peak in whole steps
    if not 0.0 < top < 1.0:
        return
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=steps + 1, pct_start=peak, cycle_momentum=False
    )
    for index in range(steps + 1):
        ours = one_cycle(index / steps, top)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        if index < steps:
            theirs.step()


def test_a_learned_schedule_is_chosen_by_its_name() -> None:
    learned = Learned(schedules={"shops": (1.0, 0.01, 0.04)})
    multiplier = schedule(Settings({"schedule": "shops"}), learned)
    found = [multiplier(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == pytest.approx([1.0, 0.1, 0.01, 0.02, 0.04])


def test_warmup_rises_in_a_line() -> None:
    multiplier = schedule(Settings({"schedule": "warmup", "warmup_fraction": 0.4}))
    assert [multiplier(p) for p in (0.1, 0.2, 0.3)] == pytest.approx([0.25, 0.5, 0.75])
