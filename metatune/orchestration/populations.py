"""The populations of a search: what their workers ask and tell, as a view of the coordinator.

A worker trains the members of one population as one program. What it reports stays in memory until
it has saved all members that go on; then their checkpoints and the ends of the others become
durable in one record. So what is durable is always one moment of the population, and a worker or a
driver that is killed goes on from there as if nothing had happened.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metatune.orchestration.coordinator import Coordinator, Ending
from metatune.orchestration.exploit import Exploit, exploits, interval
from metatune.orchestration.grouping import Group, Grouping
from metatune.space import Config
from metatune.trial import Trial, TrialState

# What a member shows after a step: its number, the step, what it measured, seconds of training.
Report = tuple[int, int, Mapping[str, Any], float]

# What a worker measures, by which numbers are rounded: recorded, so that who goes on uses the same.
MEASURED = ("at_once", "compiled")
_CALLS = ("refill", "report", "fail", "restart", "refine", "commit")


class Populations:
    """Hands out the populations of a study and follows them while they are trained.

    `size` members of a population train at a time, for `epochs` steps each. Safe to use from any
    thread.
    """

    def __init__(self, coordinator: Coordinator, size: int, epochs: int) -> None:
        self.coordinator = coordinator
        study = coordinator.study
        self._grouping = Grouping(study.space, size, study.trials, coordinator.trials)
        self._epochs = epochs
        self._attempts: dict[str, int] = {}  # of the populations that have a worker
        self._begun = 0
        self._given_up: set[str] = set()
        self._endings: dict[int, Ending] = {}  # of members whose end is not recorded yet
        self._exploits: dict[int, Exploit] = {}  # of members that go on from others, likewise
        self._is_closed = threading.Event()
        self._lock = threading.Lock()
        for trial in coordinator.trials:  # one whose record was damaged, and which is tried anew
            if trial.population is None and not trial.state.finished:
                name = self._grouping.new_name(trial.number)
                self._grouping.add(name, coordinator.assign(trial.number, name))

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Ray Tune writes all it is given into a snapshot, which is never read."""
        return {}

    def next(self) -> str | None:
        """The next population to train: one that was left, else one around a new proposal; None
        if there is none now."""
        with self._lock:
            group = next((group for group in self._grouping if self._is_left(group)), None)
            while group is None and self._may_propose():
                group = self._propose_freely()
            if group is None:
                return None
            self._attempts[group.name] = 0
            return group.name

    def leave(self, name: str) -> None:
        """Note that population `name` has no worker any more."""
        with self._lock:
            self._attempts.pop(name, None)
            self._rewind(self._grouping[name])

    def leave_all(self) -> None:
        """Note that no population has a worker any more."""
        for name in list(self._attempts):
            self.leave(name)

    def await_store(self, name: str) -> None:
        """Return when the store takes something again."""
        with self._lock:
            self.coordinator.annotate(self._grouping[name].members[0])

    def place(self, name: str) -> tuple[object, ...]:
        """How far population `name` is: what a new worker for it goes on from."""
        trials = [self.coordinator.trials[number] for number in self._grouping[name].members]
        return tuple((t.state, t.checkpoint.step if t.checkpoint else 0) for t in trials)

    def give_up(self, name: str, error: str) -> None:
        """Note that population `name` cannot be trained: its live members fail."""
        with self._lock:
            self._attempts.pop(name, None)
            self._given_up.add(name)
            group = self._grouping[name]
            failed = TrialState.FAILED, error
            self._endings |= {trial.number: failed for trial in self._live(group)}
            self._record(group, {}, {})

    def close(self) -> None:
        """Propose nothing more, and answer no calls."""
        self._is_closed.set()

    def answer(self, method: str, name: str, *arguments: Any) -> Any:
        """The answer to a worker of population `name`, or None where it has to stop.

        `begin` comes first, and gives the attempt that comes before all other arguments: only the
        last worker that has begun is heard.
        """
        with self._lock:
            if name not in self._attempts or self._is_closed.is_set():
                return None
            if method == "begin":
                return self._begin(name)
            attempt, *rest = arguments
            if method not in _CALLS or attempt != self._attempts[name]:
                return None
            return getattr(self, f"_{method}")(self._grouping[name], *rest)

    def _begin(self, name: str) -> tuple[int, dict[str, Any]]:
        """A worker starts, again perhaps; its attempt, and what was measured before."""
        self._begun += 1  # never the same again: of an earlier worker nothing more is heard
        self._attempts[name] = self._begun
        group = self._grouping[name]
        self._rewind(group)
        known = [self.coordinator.trials[number].training for number in group.members]
        measured = [{k: t[k] for k in MEASURED if k in t} for t in known if t.get("at_once")]
        return self._attempts[name], measured[-1] if measured else {}

    def _refill(self, group: Group, held: Collection[int]) -> list[Trial]:
        """The live members that the worker does not hold yet, in order; first the population is
        filled up, once one has entered: one that does not fit shows what would become of others."""
        while (
            (held or self._was_trained(group))
            and self._room(group)
            and not self._is_closed.is_set()
        ):
            suggestion = self.coordinator.suggest(group.settings)
            self._grouping.add(group.name, self.coordinator.add(suggestion, group.name))
        return [trial for trial in self._live(group) if trial.number not in held]

    def _report(
        self, group: Group, reports: Sequence[Report]
    ) -> tuple[list[int], bool, list[Exploit]]:
        """Which members must leave after these reports, in order of entry, whether there are
        others to take their places, and who goes on from whom."""
        for number, step, metrics, seconds in reports:
            problem = self.coordinator.observe(number, step, metrics, seconds)
            if problem is not None:
                self._endings[number] = TrialState.FAILED, problem
        # Whoever is to stop is compared with all that got there in the same tick.
        every = interval(group.settings)
        for number, step, *_ in reports:
            if number in self._endings:
                continue
            if every is None and self.coordinator.should_prune(number):
                self._endings[number] = TrialState.PRUNED, None
            elif step >= self._epochs:
                self._endings[number] = TrialState.COMPLETE, None
        leaving = [number for number, *_ in reports if number in self._endings]
        going_on = [] if every is None else self._exploited(reports, every)
        held = len(reports) - len(leaving)
        return leaving, self._room(group) > 0 or len(self._live(group)) > held, going_on

    def _exploited(self, reports: Sequence[Report], every: int) -> list[Exploit]:
        """Who goes on from whom after these reports; recorded once the worker has saved that."""
        trials, study = self.coordinator.trials, self.coordinator.study
        members = [trials[number] for number, *_ in reports if number not in self._endings]
        found = exploits(members, every, self._epochs, study.task, study.space, study.seed)
        self._exploits |= {one.target: one for one in found}
        return found

    def _fail(self, group: Group, number: int, error: str) -> bool:
        """Member `number` could not enter."""
        self._endings[number] = TrialState.FAILED, error
        return True

    def _restart(self, group: Group, number: int) -> bool:
        """Member `number` starts from the beginning, its checkpoint being gone."""
        self.coordinator.lose_checkpoint(number)
        return True

    def _refine(self, group: Group, number: int, values: Config, seconds: float) -> Trial:
        """Member `number`, which begins now, does so with other values; the trial as it is then."""
        self.coordinator.refine(number, values, seconds)
        return self.coordinator.trials[number]

    def _commit(
        self,
        group: Group,
        path: str | None,
        measured: Mapping[str, Any],
        kept: Mapping[int, str] = {},
    ) -> bool:
        """All members that go on are saved in the folder `path`: make that durable, together with
        the ends of the others, the names of their weights where these are `kept`, and with what was
        measured."""
        for number, name in kept.items():
            self.coordinator.keep_weights(number, name)
        for number in [number for number in group.members if number in self._exploits]:
            one = self._exploits.pop(number)
            self.coordinator.exploit(number, one.source, one.config)
        saved = {trial.number: path for trial in self._live(group) if trial.curve and path}
        self._record(group, saved, measured)
        return True

    def _record(self, group: Group, saved: Mapping[int, str], training: Mapping[str, Any]) -> None:
        endings = {n: end for n, end in self._endings.items() if n in group.members}
        self.coordinator.commit(endings, saved, training)
        for number in endings:
            del self._endings[number]

    def _rewind(self, group: Group) -> None:
        """Back to the last moment that is durable."""
        for number in group.members:
            self._endings.pop(number, None)
            self._exploits.pop(number, None)
            self.coordinator.rewind(number)

    def _live(self, group: Group) -> list[Trial]:
        """The members that run and have not shown yet how they end."""
        trials = (self.coordinator.trials[number] for number in group.members)
        return [t for t in trials if not t.state.finished and t.number not in self._endings]

    def _room(self, group: Group) -> int:
        """How many more members can be proposed for the group now."""
        if not self._may_propose() or not (self._live(group) or self._was_trained(group)):
            return 0
        free = self._grouping.size - len(self._live(group))
        return min(free, self._grouping.left(group), self.coordinator.remaining())

    def _was_trained(self, group: Group) -> bool:
        """Whether any member has shown anything."""
        return any(self.coordinator.trials[number].curve for number in group.members)

    def _is_left(self, group: Group) -> bool:
        """Whether a population that has no worker still has something to train."""
        if group.name in self._attempts or group.name in self._given_up:
            return False
        # Only the last one can have been cut off between the ends of members and new ones.
        is_last = self.coordinator.trials[-1].population == group.name
        return bool(self._live(group)) or (is_last and self._room(group) > 0)

    def _may_propose(self) -> bool:
        return self.coordinator.remaining() > 0 and not self.coordinator.spent()

    def _propose_freely(self) -> Group | None:
        """Propose any trial; the group that it founds, or None where it joins one that runs."""
        coordinator, size = self.coordinator, self._grouping.size
        suggestion = coordinator.suggest()
        open_ = [n for n in self._attempts if len(self._live(self._grouping[n])) < size]
        joined = self._grouping.alike(suggestion.config, open_)
        name = joined.name if joined else self._grouping.new_name(len(coordinator.trials))
        group = self._grouping.add(name, coordinator.add(suggestion, name))
        return None if joined else group
