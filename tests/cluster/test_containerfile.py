"""The container file: pinned, and not run by root. (Nothing here can build it.)"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster" / "Containerfile").read_text()


def steps(kind: str) -> list[str]:
    joined = TEXT.replace("\\\n", " ")
    found = [line.partition(" ") for line in joined.splitlines() if not line.startswith("#")]
    return [rest for word, _, rest in found if word == kind]


def test_the_base_is_a_python_that_metatune_runs_on() -> None:
    (base,) = [step.removeprefix("BASE=") for step in steps("ARG") if step.startswith("BASE=")]
    found = re.fullmatch(r"docker\.io/library/python:3\.(\d+)-slim-\w+", base)
    assert found is not None
    assert int(found[1]) >= 11
    assert steps("FROM") == ["${BASE} AS build", "${BASE}"]


def test_everything_installed_is_pinned() -> None:
    assert any("PIP_CONSTRAINT=/source/constraints.txt" in step for step in steps("ENV"))
    for step in steps("RUN"):
        assert "apt" not in step
        assert "curl" not in step
    text = TEXT[: TEXT.index("RUN pip")]
    assert "COPY constraints.txt" in text


def test_the_user_is_not_root_and_the_same_as_in_the_pods() -> None:
    assert steps("USER") == ["1000:1000"]
    last = [line for line in TEXT.splitlines() if line.startswith(("RUN", "COPY", "USER"))][-1]
    assert last.startswith("USER")


def test_what_is_copied_is_there_and_suffices_to_build() -> None:
    copied = [step.split()[:-1] for step in steps("COPY") if not step.startswith("--from")]
    sources = {source for group in copied for source in group}
    assert all((ROOT / source).exists() for source in sources)
    assert {"pyproject.toml", "README.md", "LICENSE", "metatune", "search_spaces"} <= sources


def test_no_address_of_a_package_index_is_written_down() -> None:
    assert "://" not in TEXT
    assert "ARG TORCH_INDEX_URL=\n" in TEXT


def test_nothing_is_reported_to_ray() -> None:
    assert any("RAY_USAGE_STATS_ENABLED=0" in step for step in steps("ENV"))
