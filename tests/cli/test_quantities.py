"""Durations, sizes and amounts as they are typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.cli.quantities import amounts, duration, label, of_option, size
from metatune.errors import InputError

whole = st.integers(0, 10**6)


@given(whole, whole, whole, whole)
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert duration(f"{days}d{hours}h{minutes}m{seconds}s") == total
    assert duration(str(total)) == duration(f"{total}s") == total
    assert duration(f"{hours}.5h") == hours * 3600 + 1800


@given(whole)
def test_sizes_are_powers_of_ten_or_two(count: int) -> None:
    assert size(str(count)) == size(f"{count}B") == count
    assert size(f"{count}MB") == size(f"{count} MB") == count * 10**6
    assert size(f"{count}.5GiB") == (count + 0.5) * 2**30


def test_amounts_have_names() -> None:
    assert amounts("CPU=2, GPU=0.5,memory=4GB") == {"CPU": 2.0, "GPU": 0.5, "memory": 4e9}
    assert label("zone=in(a,b)") == ("zone", "in(a,b)")
    assert label("ray.io/market-type=spot") == ("ray.io/market-type", "spot")


@pytest.mark.parametrize("text", ["", "h", "2 weeks", "-1h", "1h-1m", "1h 30", "2H", "1.h", "h2"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        of_option("--time-budget", duration)(text)
    assert str(caught.value) == (
        f"--time-budget {text!r} must be like 90s, 30m, 2h, 1d, 1h30m, or 600 for seconds"
    )


@pytest.mark.parametrize("text", ["", "GB", "2Gb", "2 XB", "-1GB", "two", "1,5GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="must be like 500MB, 2GB, 2GiB, or 2000000000 for bytes"):
        size(text)


@pytest.mark.parametrize("text", ["", "CPU", "CPU=", "=2", "CPU=two", "CPU=1,CPU=2", "CPU=1,"])
def test_what_are_no_amounts_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"must be like CPU=2,GPU=0\.5"):
        amounts(text)


@pytest.mark.parametrize("text", ["", "zone", "zone=", "=a"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="must be like zone=a"):
        label(text)
