"""The study to which the trials of one Tuner are written."""

from __future__ import annotations

import warnings
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.result import TIME_TOTAL_S, TRAINING_ITERATION

from metatune.errors import ConfigurationError, ExperienceWarning, StudyLockedError
from metatune.experience.lease import Lease
from metatune.optimizers.pruning import Pruner
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.recorder import own_metrics
from metatune.ray_plugin.endings import Result, how_it_ended
from metatune.ray_plugin.param_space import ParamSpace
from metatune.space import Config
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState


@dataclass
class _Running:
    """What is known of a trial that Ray runs, beside its record.

    `went_on` is the last step after which it was to go on, `problem` what was wrong with its last
    report, `ending` how its scheduler says that it ended, `error` why it failed.
    """

    number: int
    went_on: int | None = None
    problem: str | None = None
    ending: TrialState | None = None
    error: str = "the trainable failed; Ray keeps the reason in error.txt in the trial's folder"


class Recording:
    """Writes the trials of one Tuner to a study; they go by Ray's ids here.

    `claimed` maps the ids of trials that Ray has already, restored from a snapshot, to their
    numbers in the study; other trials that were RUNNING are handed out again first.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        commits: GroupCommit,
        lease: Lease,
        space: ParamSpace,
        claimed: Mapping[str, int],
    ) -> None:
        self.space = space
        self._coordinator = coordinator
        self._commits = commits
        self._ended: set[str] = set()
        self._running: dict[str, _Running] = {}
        self._warned: set[str] = set()
        self._close = weakref.finalize(self, _close, commits, lease)
        unfinished = [trial for trial in coordinator.trials if not trial.state.finished]
        queued = [trial for trial in (coordinator.ask() for _ in unfinished) if trial is not None]
        self._again = deque(t.number for t in queued if t.number not in claimed.values())
        for ray_id, number in claimed.items():
            if number >= len(coordinator.trials):
                continue  # its record is gone; it is unknown, and that is said when it reports
            if coordinator.trials[number].state.finished:
                self._ended.add(ray_id)
            else:
                self._running[ray_id] = _Running(number)

    def __contains__(self, ray_id: str) -> bool:
        return ray_id in self._running or ray_id in self._ended

    @property
    def name(self) -> str:
        """The name of the study."""
        return self._coordinator.study.name

    @property
    def task(self) -> Task:
        """What is measured."""
        return self._coordinator.study.task

    @property
    def is_learned(self) -> bool:
        """Whether what proposes was learned from earlier tasks."""
        return self._coordinator.study.model is not None

    @property
    def numbers(self) -> dict[str, int]:
        """Number in the study of each trial that runs, by Ray's id."""
        return {ray_id: running.number for ray_id, running in self._running.items()}

    def propose(self, ray_id: str) -> Config:
        """The configuration to try next, recorded as running."""
        self._check_open()
        if self._again:
            number = self._again.popleft()
        else:
            self._commits.flush()  # nothing is proposed from that could still be lost
            suggestion = self._coordinator.suggest()
            config = self.space.on_grid(suggestion.config)
            number = self._coordinator.add(replace(suggestion, config=config)).number
        self._running[ray_id] = _Running(number)
        return self._coordinator.trials[number].config

    def add(self, ray_id: str, config: Config, proposed_by: str) -> None:
        """Record a trial that somebody else proposed as running."""
        self._check_open()
        number = self._coordinator.add(Suggestion(config, proposed_by)).number
        self._running[ray_id] = _Running(number)

    def observe(
        self,
        ray_id: str,
        result: Result,
        config: Mapping[str, Any] | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        """Take in a result, and whether the trial was to go on after it; an old one changes
        nothing.

        A report of no finite number is left out, and the trial fails if it stays the last one.
        Where Ray's `config` of the trial is given and is no longer the one that was recorded, the
        trial ends as PRUNED: what follows measures neither of the two.
        """
        running = self._running.get(ray_id)
        if running is None:
            self._warn_unknown(ray_id)
            return
        if config is not None and self._has_changed(running, config):
            running.ending = TrialState.PRUNED
            self.end(ray_id, None, {})
            return
        self._take(running, result)
        if goes_on:
            running.went_on = result[TRAINING_ITERATION]

    def should_prune(self, ray_id: str, pruner: Pruner) -> bool:
        """Whether `pruner` stops a trial after its last report, which it always does where that
        is no finite number."""
        running = self._running[ray_id]
        trials = [trial.inward(self.task) for trial in self._coordinator.trials]
        return running.problem is not None or pruner.should_prune(trials[running.number], trials)

    def returned(self, ray_id: str, result: Result) -> bool:
        """Whether a trial ended without a result after one after which it was to go on."""
        running = self._running.get(ray_id)
        return running is not None and running.went_on == result.get(TRAINING_ITERATION)

    def expect(self, ray_id: str, ending: TrialState) -> None:
        """Note how a trial ends, known by its scheduler."""
        if ray_id in self._running:
            self._running[ray_id].ending = ending

    def explain(self, ray_id: str, error: str) -> None:
        """Note why a trial failed, if it does not recover."""
        if ray_id in self._running:
            self._running[ray_id].error = error

    def end(self, ray_id: str, result: Result | None, limits: Mapping[str, float]) -> None:
        """Record that a trial ended with `result` as its last one; durable when this returns.

        `limits` is the `stop` of the Tuner. It fails if it reported nothing, or no finite number at
        last.
        """
        running = self._close_trial(ray_id)
        if running is None:
            return
        if result and TRAINING_ITERATION in result:
            self._take(running, result)
        curve = self._coordinator.trials[running.number].curve
        if running.problem is not None and (not curve or self.task.measure == "last"):
            self._coordinator.fail(running.number, running.problem)
        elif not curve:
            self._coordinator.finish(running.number)  # which says that it never reported
        else:
            state = running.ending or how_it_ended(result or {}, running.went_on, limits)
            self._coordinator.commit({running.number: (state, None)}, {}, {})
        self._commits.flush()

    def fail(self, ray_id: str, error: str | None = None) -> None:
        """Record that a trial failed; durable when this returns."""
        running = self._close_trial(ray_id)
        if running is not None:
            self._coordinator.fail(running.number, error or running.error)
            self._commits.flush()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be recorded."""
        return not self._close.alive

    @property
    def is_idle(self) -> bool:
        """Whether no trial runs."""
        return not self._running

    def secure(self) -> None:
        """Make the curves of running trials durable too, as Ray does now with its own state."""
        for running in self._running.values():
            if self._coordinator.trials[running.number].curve:
                self._coordinator.annotate(running.number)
        self._commits.flush()

    def close(self) -> None:
        """Write what waits and let others run the study; nothing more can be recorded."""
        self._close()

    def replay(self, known: Sequence[Trial]) -> None:
        """Give the trials that run the curves that they have among the `known` ones."""
        running = set(self.numbers.values())
        for trial in known:
            for report in trial.curve if trial.number in running else ():
                metrics = {self.task.metric: report.value}
                self._coordinator.observe(trial.number, report.step, metrics, report.seconds)

    def _take(self, running: _Running, result: Result) -> None:
        metrics = own_metrics(result, self.task.metric)
        step, seconds = result[TRAINING_ITERATION], result[TIME_TOTAL_S]
        running.problem = self._coordinator.observe(running.number, step, metrics, seconds)

    def _has_changed(self, running: _Running, config: Mapping[str, Any]) -> bool:
        try:
            return self.space.flat(config) != self._coordinator.trials[running.number].config
        except ConfigurationError:
            return True

    def _check_open(self) -> None:
        if self.is_closed:
            raise StudyLockedError(
                f"study {self.name!r} is recorded by another search of this process by now; give "
                f"one of them another name"
            )

    def _close_trial(self, ray_id: str) -> _Running | None:
        running = self._running.pop(ray_id, None)
        if running is not None:
            self._check_open()
            self._ended.add(ray_id)
        return running

    def _warn_unknown(self, ray_id: str) -> None:
        if ray_id in self._ended or ray_id in self._warned:
            return
        self._warned.add(ray_id)
        warnings.warn(
            f"Ray's trial {ray_id} was not proposed in study {self.name!r} and is not recorded",
            ExperienceWarning,
            stacklevel=3,
        )


def _close(commits: GroupCommit, lease: Lease) -> None:
    try:
        commits.close()
    finally:
        lease.release()
