"""The heart of a search: one object that owns the study.

It asks the meta-optimizer what to try and the pruner what to stop, and writes what happened
through one group commit. It holds nothing that is not rebuilt from the study record and its trials,
so a search goes on after its driver was killed as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Protocol, SupportsFloat

from metatune.networks.lineage import LINEAGE
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.optimizers.pruning import Pruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.exploit import moved
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.known_refinement import PROPOSED, REFINING_SECONDS
from metatune.orchestration.known_weights import KEPT
from metatune.orchestration.reasons import FAILURES, failures
from metatune.parameters import Value
from metatune.space import Config
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Checkpoint, Report, Suggestion, Trial, TrialState, derive_seed

Ending = tuple[TrialState, str | None]  # how a trial ends, and why where it fails


class Ancestry(Protocol):
    """Where trials inherit weights from."""

    def inherited(self, config: Config, task: Task, trials: Sequence[Trial]) -> Mapping[str, Any]:
        """What is to be known of the training of a configuration that begins now."""
        ...

    def tidy(self, task: Task, trials: Sequence[Trial]) -> None:
        """Delete the weights of ended trials that no other will begin from."""
        ...


class Coordinator:
    """Owns one study while it is searched.

    `trials` are those already in the store. The ones among them that were RUNNING are handed out
    again first, each with its number, configuration and seed, its curve cut back to its last
    checkpoint. `deadline` is in seconds of `time.monotonic`, `cost_budget` in seconds of training;
    `cost` is how many of these all trials have together. `weights` is where trials inherit from.
    """

    def __init__(
        self,
        study: Study,
        trials: Sequence[Trial],
        optimizer: MetaOptimizer,
        pruner: Pruner,
        commits: GroupCommit,
        deadline: float = math.inf,
        cost_budget: float = math.inf,
        weights: Ancestry | None = None,
    ) -> None:
        self.study = study
        self._weights = weights
        self.trials: list[Trial] = []
        self.cost, self.cost_budget = 0.0, cost_budget
        self._deadline = deadline
        self._optimizer = optimizer
        self._is_blind = isinstance(optimizer, RandomSearch)  # to what trials have shown
        self._pruner = pruner
        self._commits = commits
        self._inward: list[Trial] = []
        self._loaded = {trial.id: trial.revision for trial in trials}
        for trial in sorted(trials, key=lambda trial: trial.number):
            while len(self.trials) < trial.number:  # its record was damaged: propose it anew
                self._keep(self._trial(self.suggest()))
            self._keep(trial if trial.state.finished else _cut_back(trial))
        self._again = deque(t.number for t in self.trials if not t.state.finished)
        self._done: set[int] = set()
        self._broken: Exception | None = None
        self._spent: str | None = None
        ended = [t.finished_index for t in self.trials if t.finished_index is not None]
        self._finished, self._next_index = len(ended), max(ended, default=-1) + 1

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Ray Tune writes all it is given into a snapshot, which is never read."""
        return {}

    def ask(self) -> Trial | None:
        """The next trial to run, or None when a budget is spent."""
        if self.spent():
            return None
        if self._again:
            return self.trials[self._again.popleft()]
        if self.remaining() == 0:
            return None
        if not self._is_blind:
            self._commits.flush()  # nothing is proposed from that could still be lost
        return self.add(self.suggest())

    def remaining(self) -> int:
        """How many trials may still be proposed."""
        return max(0, self.study.trials - len(self.trials))

    def suggest(self, given: Mapping[str, Value] = {}) -> Suggestion:
        """What to try next, with the values in `given` fixed; nothing is recorded."""
        return self._optimizer.suggest(self.study, self._inward, 1, self.study.seed, given)[0]

    def add(self, suggestion: Suggestion, population: str | None = None) -> Trial:
        """A trial of what was suggested last, recorded as running in `population`."""
        trial = self._trial(suggestion, population)
        self._record(trial)
        return trial

    def assign(self, number: int, population: str) -> Trial:
        """Note that trial `number` is a member of `population`; the trial as it is then."""
        trial = self.trials[number]
        self._record(replace(trial, population=population, revision=trial.revision + 1))
        return self.trials[number]

    def report(self, number: int, step: int, metrics: Mapping[str, Any], seconds: float) -> bool:
        """Take in what trial `number` measured at `step`; True if it must stop now.

        The trial fails where the metric is missing or no finite number, or the step is no whole
        number from 0. A step that is not beyond the last one is old news.
        """
        before = self.trials[number]
        if before.state.finished:
            return True
        problem = self.observe(number, step, metrics, seconds)
        if problem is not None:
            self.fail(number, problem)
            return True
        trial = self.trials[number]
        if trial is before:
            return False
        if self.should_prune(number):
            self._end(number, TrialState.PRUNED)
            return True
        if step > 1 and step & (step - 1) == 0:  # a running curve is worth a record now and then
            self._record(replace(trial, revision=trial.revision + 1))
        return False

    def observe(
        self, number: int, step: int, metrics: Mapping[str, Any], seconds: float
    ) -> str | None:
        """Take in a report, or say why the trial has to fail for it; nothing is recorded."""
        trial = self.trials[number]
        if trial.curve and isinstance(step, Integral) and step <= trial.step:
            return None
        problem = self._problem(metrics, step)
        if problem is None:
            report = Report(int(step), _number(metrics[self.study.task.metric]), seconds)
            self._keep(replace(trial, curve=(*trial.curve, report), cost=seconds))
        return problem

    def should_prune(self, number: int) -> bool:
        """Whether trial `number` is to stop after its last report, by all that is known now."""
        return self._pruner.should_prune(self._inward[number], self._inward)

    def commit(
        self,
        endings: Mapping[int, Ending],
        saved: Mapping[int, str],
        training: Mapping[str, Any],
    ) -> None:
        """Record together, all or nothing, how some trials ended and from which folders others
        can be resumed at their last step; durable when this returns.

        `training` is added to what is known of how they were trained.
        """
        changed = [
            replace(self._ended(number, *ending), checkpoint=None)  # its folder is deleted next
            for number, ending in endings.items()
        ]
        for number, path in saved.items():
            trial = self.trials[number]
            last = trial.curve[-1]
            checkpoint = Checkpoint(path, last.step, last.seconds)
            changed.append(replace(trial, checkpoint=checkpoint, revision=trial.revision + 1))
        changed = [replace(t, training={**t.training, **training}) for t in changed]
        for trial in changed:
            self._keep(trial)
        self._commits.record(*changed)
        self._commits.flush()

    def annotate(self, number: int, **training: Any) -> None:
        """Add to what is known of how a trial is trained; durable when this returns."""
        trial = self.trials[number]
        training = {**trial.training, **training}
        self._record(replace(trial, training=training, revision=trial.revision + 1))
        self._commits.flush()

    def checkpoint(self, number: int, path: str) -> None:
        """Note that trial `number` can be resumed from the folder `path` at its last step."""
        trial = self.trials[number]
        if not trial.state.finished and trial.curve:
            last = trial.curve[-1]
            trial = replace(trial, checkpoint=Checkpoint(path, last.step, last.seconds))
            if number in self._done:  # one record, or it could be resumed beyond its end
                self._keep(trial)
                self._end(number, TrialState.COMPLETE)
            else:
                self._record(replace(trial, revision=trial.revision + 1))
            self._commits.flush()  # Ray deletes older checkpoints next

    def keep_weights(self, number: int, name: str) -> None:
        """Note under which name the weights that trial `number` ends with are kept, for others to
        begin from; recorded with its end."""
        trial = self.trials[number]
        if not trial.state.finished:
            self._keep(replace(trial, training={**trial.training, KEPT: name}))
            if self._weights is not None:
                self._weights.tidy(self.study.task, self.trials)

    def note_done(self, number: int) -> None:
        """Note the last report of trial `number`, which its last checkpoint or `finish` ends."""
        self._done.add(number)

    def rewind(self, number: int) -> None:
        """Note that trial `number` starts again from its last checkpoint."""
        if not self.trials[number].state.finished:
            self._done.discard(number)
            self._keep(_cut_back(self.trials[number]))

    def retry(self, number: int, reason: str) -> None:
        """Note that trial `number` failed and starts again from its last checkpoint; the reason is
        kept among the `failures` in what is known of its training."""
        self.rewind(number)
        trial = self.trials[number]
        if not trial.state.finished:
            training = {**trial.training, FAILURES: [*failures(trial), reason]}
            self._record(replace(trial, training=training, revision=trial.revision + 1))

    def lose_checkpoint(self, number: int) -> None:
        """Note that trial `number` starts from the beginning, its checkpoint being gone."""
        trial = self.trials[number]
        training = {name: known for name, known in trial.training.items() if name != LINEAGE}
        self._keep(_cut_back(replace(trial, checkpoint=None, training=training)))

    def exploit(self, number: int, source: int, config: Config) -> None:
        """Note that trial `number` goes on with `config` from where trial `source` is; recorded by
        the next `commit`."""
        self._keep(moved(self.trials[number], self.trials[source], config))

    def refine(self, number: int, values: Config, seconds: float) -> None:
        """Note that trial `number` trains with `values` in place of those that were proposed, which
        are kept as PROPOSED in what is known of its training, and that finding them took
        `seconds`; durable when this returns. The first values hold."""
        trial = self.trials[number]
        if trial.state.finished or PROPOSED in trial.training:
            return
        config = self.study.space.check({**trial.config, **values}, f"trial {number}, refined")
        proposed = {name: trial.config[name] for name in values}
        training = {**trial.training, PROPOSED: proposed, REFINING_SECONDS: seconds}
        suggestion = replace(trial.suggestion, config=config)
        revision = trial.revision + 1
        self._record(replace(trial, suggestion=suggestion, training=training, revision=revision))
        self._commits.flush()

    def hand_out_again(self, number: int) -> None:
        """Note that trial `number` was not started and has to be."""
        if not self.trials[number].state.finished:
            self.rewind(number)
            self._again.append(number)

    def hand_out_all_again(self) -> None:
        """Note that nothing runs any more, and that all that has not ended has to be started."""
        waiting = set(self._again)
        for trial in list(self.trials):
            if not trial.state.finished and trial.number not in waiting:
                self.hand_out_again(trial.number)

    def check(self) -> None:
        """Raise what makes it impossible to go on, if anything does."""
        if self._broken is not None:
            raise self._broken
        self._commits.check()

    def give_up(self, error: Exception) -> None:
        """Note what makes it impossible to go on, which `check` raises."""
        self._broken = self._broken or error

    def finish(self, number: int) -> None:
        """Note that trial `number` ended by itself; it fails if it never reported."""
        if self.trials[number].state.finished:
            return
        if not self.trials[number].curve:
            self.fail(number, f"ended without reporting {self.study.task.metric!r}")
            return
        self._end(number, TrialState.COMPLETE)

    def fail(self, number: int, error: str) -> None:
        """Note that trial `number` failed, and why."""
        if not self.trials[number].state.finished:
            self._end(number, TrialState.FAILED, error)

    def is_complete(self) -> bool:
        """Whether every trial of the budget has ended."""
        return self._finished >= self.study.trials

    def spent(self) -> str | None:
        """Which budget of seconds is spent, "time budget" or "cost budget"; None if neither is."""
        if self._spent is None and time.monotonic() >= self._deadline:
            self._spent = "time budget"
        if self._spent is None and self.cost >= self.cost_budget:
            self._spent = "cost budget"  # for good, also when a trial then has to start again
        return self._spent

    def flush(self) -> None:
        """Return when everything that happened is durable."""
        self._commits.flush()

    def shown(self) -> list[Trial]:
        """The trials as a person may see them: ended only once that is durable."""
        return [
            trial
            if not trial.state.finished
            or self._loaded.get(trial.id) == trial.revision
            or self._commits.is_durable(trial)
            else replace(trial, state=TrialState.RUNNING)
            for trial in self.trials
        ]

    def _trial(self, suggestion: Suggestion, population: str | None = None) -> Trial:
        study, number = self.study, len(self.trials)
        seed = derive_seed(study.seed, number, 1)
        training = dict(study.training)
        if self._weights is not None:
            training |= self._weights.inherited(suggestion.config, study.task, self.trials)
        return Trial(study.name, number, suggestion, seed, population=population, training=training)

    def _problem(self, metrics: Mapping[str, Any], step: int) -> str | None:
        metric = self.study.task.metric
        if not isinstance(step, Integral) or step < 0:
            return f"reported training_iteration = {step!r}, which is no whole number from 0"
        if metric not in metrics:
            return f"step {step} reported no {metric!r}, only {sorted(metrics)}"
        if not math.isfinite(_number(metrics[metric])):
            return f"step {step} reported {metric} = {metrics[metric]!r}, which is no finite number"
        return None

    def _end(self, number: int, state: TrialState, error: str | None = None) -> None:
        self._record(self._ended(number, state, error))

    def _ended(self, number: int, state: TrialState, error: str | None) -> Trial:
        """The trial as it is when it has ended, next of all in order."""
        trial = self.trials[number]
        value = self.study.task.value(trial.curve)
        index = self._next_index
        self._finished += 1
        self._next_index += 1
        return replace(
            trial,
            state=state,
            value=None if state is TrialState.FAILED else value,
            error=error,
            finished_index=index,
            revision=trial.revision + 1,
        )

    def _record(self, trial: Trial) -> None:
        self._keep(trial)
        self._commits.record(trial)

    def _keep(self, trial: Trial) -> None:
        inward = trial.inward(self.study.task)
        self.cost += trial.cost
        if trial.number == len(self.trials):
            self.trials.append(trial)
            self._inward.append(inward)
        else:
            self.cost -= self.trials[trial.number].cost
            self.trials[trial.number] = trial
            self._inward[trial.number] = inward


def _cut_back(trial: Trial) -> Trial:
    saved = trial.checkpoint
    curve = tuple(r for r in trial.curve if saved is not None and r.step <= saved.step)
    return replace(trial, curve=curve, cost=curve[-1].seconds if curve else 0.0)


def _number(value: Any) -> float:
    """A number, NumPy scalar or tensor of one element as float; NaN for anything else."""
    try:
        return float(value) if isinstance(value, SupportsFloat) else math.nan
    except (
        TypeError,
        ValueError,
        OverflowError,
        RuntimeError,
    ):  # an array or tensor of several elements
        return math.nan
