"""A trial does not fail by what becomes of its process, but by ending it each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import OutOfMemoryError
from trainables import STEPS, deadly

from metatune import Categorical, ExperienceStore, SearchSpace, Study, Task, search
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.resources import Resources
from metatune.orchestration.running import _go_on
from metatune.orchestration.setbacks import Cause, Setbacks, cause_of, is_full
from metatune.orchestration.watch import ClusterWatch
from metatune.trial import TrialState

DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: fit\n\tpid: 7\n"
RAISED = "ray::fit.train() (pid=7, ip=127.0.0.1)\n  File "
STORAGE = '"/x/ray/train/_internal/storage.py", line 118, in _pyarrow_fs_copy_files\n'


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DIED + "The actor is dead because its worker process has died.", Cause.PROCESS),
        (DIED + "The actor died because its node has died. Node Id: 1", Cause.NODE),
        ("The actor 0a1b is unavailable: rpc error", Cause.PROCESS),
        ("Failed to set up runtime environment.\nno room", Cause.PROCESS),
        (RAISED + '"/my.py", line 1, in fit\nValueError: ' + DIED, Cause.TRAINABLE),
        ("The actor died because of an error raised in its creation task, ray", Cause.TRAINABLE),
        (
            RAISED + '"/my.py", line 1, in fit\n    ray.get(worker.go.remote())\n'
            "ray.exceptions.ActorDiedError: its node has died",
            Cause.NODE,
        ),
        (RAISED + STORAGE + "OSError: AWS Error NETWORK_CONNECTION", Cause.STORE),
        (RAISED + '"/s.py", line 1\nmetatune.errors.StoreError: away', Cause.STORE),
    ],
)
def test_whose_fault_it_is(error: str, cause: Cause) -> None:
    assert cause_of(error) is cause


def test_a_full_disk_is_told_from_a_store_that_does_not_answer() -> None:
    assert is_full(RAISED + STORAGE + "OSError: [Errno 28] No space left on device")
    assert not is_full(RAISED + STORAGE + "OSError: AWS Error NETWORK_CONNECTION")


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([Cause.PROCESS, Cause.NODE]))))
def test_only_setbacks_in_a_row_without_a_checkpoint_are_too_many(
    events: list[tuple[int, Cause]],
) -> None:
    setbacks, place, row = Setbacks(), 0, {Cause.PROCESS: 0, Cause.NODE: 0}
    for further, cause in events:
        if further:
            place, row = place + further, {Cause.PROCESS: 0, Cause.NODE: 0}
        row[cause] += 1
        limit = {Cause.PROCESS: 3, Cause.NODE: 10}[cause]
        said = setbacks.too_many("trial", place, cause)
        assert (said is not None) == (row[cause] >= limit)
        assert said is None or f"{cause} {row[cause]} times in a row" in said


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("how", ["once", "always"])
def test_a_trial_survives_its_process_unless_it_ends_it_each_time(how: str, tmp_path: Path) -> None:
    space = {"how": Categorical((how,)), "folder": Categorical((str(tmp_path),))}
    result = search(
        SearchSpace(space), "toy", deadly, trials=1, store=tmp_path / "store", pruner=NoPruner(),
        optimizer=RandomSearch(), resources=Resources(concurrency=1), display=False,
    )  # fmt: skip
    (trial,) = ExperienceStore(tmp_path / "store").trials()
    assert result.complete
    deaths = {path.name: len(path.read_text()) for path in tmp_path.glob(f"{how}-*")}
    if how == "once":
        assert trial.state is TrialState.COMPLETE
        assert [report.step for report in trial.curve] == list(range(1, STEPS + 1))
        assert deaths == {"once-3": 1, "once-5": 1}
    else:
        assert trial.state is TrialState.FAILED
        assert "its process died 3 times in a row, without a checkpoint" in str(trial.error)
        assert "worker process has died" in str(trial.error)
        assert deaths == {"always-3": 3}
        assert [report.step for report in trial.curve] == [1, 2]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("progress", [True, False])
def test_ray_tune_is_run_again_where_it_broke_off(progress: bool, tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    study = Study("s", Task("toy"), SearchSpace({"x": Categorical((1,))}), trials=9)
    store.put_study(study)
    fits, lost = [0], [0]
    with GroupCommit(store.append) as commits:
        coordinator = Coordinator(study, [], RandomSearch(), NoPruner(), commits)

        def fit(watch: ClusterWatch) -> None:
            fits[0] += 1
            trial = coordinator.ask()
            assert trial is not None
            if progress:
                coordinator.report(trial.number, 1, {"loss": 1.0}, 1.0)
                coordinator.finish(trial.number)
            if fits[0] < 6:
                raise RuntimeError("Caught unexpected exception") from OutOfMemoryError("killed")

        def lose_all() -> None:
            lost[0] += 1
            coordinator.hand_out_all_again()

        if progress:
            _go_on(coordinator, fit, lose_all)
            assert (fits[0], lost[0]) == (6, 5)
        else:
            with pytest.raises(RuntimeError, match="unexpected"):
                _go_on(coordinator, fit, lose_all)
            assert (fits[0], lost[0]) == (3, 2)
            assert len(coordinator.trials) == 1
