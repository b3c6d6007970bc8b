"""Opening the study of a Tuner, and how its searcher, its scheduler and its callback find it.

Ray shows none of the three the others. They run in one process, and the ids of Ray's trials are
unique: so each finds the recording of a trial by its id.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from metatune.errors import InputError
from metatune.experience.lease import Lease
from metatune.experience.store import ExperienceStore
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.pruning import NoPruner
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.learning import fit_shown
from metatune.orchestration.opening import MakeOptimizer, open_study, record_study
from metatune.orchestration.problem import Problem
from metatune.ray_plugin.param_space import ParamSpace
from metatune.ray_plugin.recording import Recording
from metatune.task import Direction, Task
from metatune.trial import Trial

_DIRECTIONS: Mapping[str, Direction] = {"min": "minimize", "max": "maximize"}

# One for each study that this process records, as long as somebody uses it.
_RECORDINGS: weakref.WeakValueDictionary[tuple[str, str], Recording] = weakref.WeakValueDictionary()


class TunersScheduler(NoPruner):
    """Stands in the record of a study whose trials the scheduler of a Tuner stops."""

    def __str__(self) -> str:
        return "the Tuner's scheduler"


def open_recording(
    store: ExperienceStore,
    name: str,
    task: Task,
    space: ParamSpace,
    *,
    seed: int,
    samples: int,
    optimizer: MetaOptimizer | MakeOptimizer,
    memory: bool,
    claimed: Mapping[str, int] | None = None,
) -> Recording:
    """The recording of a study that is new, or goes on with `samples` more trials; `claimed` is
    explained at Recording.

    Another one of the same study in this process is closed. Raises StudyError where the study was
    begun with other settings, and StudyLockedError where another process runs it.
    """
    earlier = _RECORDINGS.pop((store.uri, name), None)
    if earlier is not None:
        earlier.close()
    store.check_writable()
    lease = store.lease(name).acquire()
    try:
        known = store.trials(study=name)
        with fit_shown(True) as progress:
            study, meta, _ = open_study(
                store,
                Problem(space.space, "param_space", task),
                name,
                known,
                trials=min(len(known) + samples, sys.maxsize),
                seed=seed,
                optimizer=optimizer,
                memory=memory,
                pruner=TunersScheduler(),
                progress=progress,
            )
        record_study(store, study, known)
        commits = GroupCommit(partial(_append, store, lease))
    except BaseException:
        lease.release()
        raise
    coordinator = Coordinator(study, known, meta, NoPruner(), commits)
    recording = Recording(coordinator, commits, lease, space, claimed or {})
    recording.replay(known)
    _RECORDINGS[store.uri, name] = recording
    return recording


def recording_of(ray_id: str) -> Recording | None:
    """The recording that one of Ray's trials is part of, if there is one in this process."""
    return next((found for found in _RECORDINGS.values() if ray_id in found), None)


def opened(store: ExperienceStore | str | Path) -> ExperienceStore:
    """The store at an address, or itself."""
    return store if isinstance(store, ExperienceStore) else ExperienceStore(store)


def fresh_name(task: Task) -> str:
    """A name that no other study has."""
    return f"{task.name}-{uuid4().hex[:8]}"


def measured_task(task: Task | str, metric: str | None, mode: str | None, who: str) -> Task:
    """The task, measured by `metric` and better as `mode`, "min" or "max", says.

    Raises InputError where a bare name comes without them, or a Task with others.
    """
    if mode is not None and mode not in _DIRECTIONS:
        raise InputError(f"{who}: mode = {mode!r} must be 'min' or 'max'")
    if metric is not None and not isinstance(metric, str):
        raise InputError(f"{who}: metric = {metric!r} must be the name of one metric")
    if isinstance(task, str):
        if metric is None or mode is None:
            raise InputError(
                f"{who}: metric = {metric!r} and mode = {mode!r} must both be known; give metric= "
                f"and mode=, or a metatune.Task instead of the name {task!r}"
            )
        return Task(task, metric, _DIRECTIONS[mode])
    if metric not in (None, task.metric):
        raise InputError(f"{who}: metric = {metric!r} is not {task.metric!r} of task {task.name!r}")
    if mode is not None and _DIRECTIONS[mode] != task.direction:
        raise InputError(
            f"{who}: mode = {mode!r} is not to {task.direction} as task {task.name!r} is"
        )
    return task


def _append(store: ExperienceStore, lease: Lease, trials: Sequence[Trial]) -> None:
    lease.check()  # another process may run the study by now, if this one was asleep
    store.append(trials)
