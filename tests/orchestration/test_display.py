from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from metatune import Float, SearchSpace, Study, Task
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.display import Display
from metatune.orchestration.group_commit import GroupCommit

STUDY = Study("my-study", Task("toy"), SearchSpace({"x": Float(0, 1)}), trials=4)


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    """One trial complete, one failed, one running."""
    with GroupCommit(lambda batch: None) as commits:
        made = Coordinator(STUDY, [], RandomSearch(), NoPruner(), commits)
        for _ in range(3):
            made.ask()
        made.report(0, 1, {"loss": 0.25}, 1.0)
        made.finish(0)
        made.fail(1, "broke")
        commits.flush()
        yield made


def shown(coordinator: Coordinator, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, soft_wrap=not terminal)
    with Display(coordinator, ["column 'a' dropped: constant"], console) as display:
        display.on_step_end(0, [])
    return file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_it_tells_what_a_person_wants_to_know(coordinator: Coordinator, terminal: bool) -> None:
    text = shown(coordinator, terminal)
    assert "my-study" in text
    assert "column 'a' dropped" in text
    for said in ("1 complete", "1 failed", "1 running", "loss 0.25", "trial 0"):
        assert said in text, said
    assert ("2 of 4" if terminal else "2/4 trials") in text
    if terminal:
        assert "x=" in text
        assert "random 3" in text


def test_a_trial_that_is_not_durable_is_not_shown_as_ended(coordinator: Coordinator) -> None:
    trial = coordinator.trials[0]
    coordinator.trials[0] = replace(trial, revision=trial.revision + 1)
    assert "1/4 trials" in shown(coordinator, terminal=False)


def test_ray_may_write_it_into_its_snapshot(coordinator: Coordinator) -> None:
    for made in (Display(coordinator), coordinator):
        assert len(pickle.dumps(made)) < 1000
