"""What trains one population: ticks of training, and what the driver is told and asked."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from metatune.errors import DamagedFileError, MetatuneError
from metatune.networks.data.dataset import Dataset
from metatune.networks.hypergradients.refinement import asks_to_be_refined
from metatune.networks.population import Member, Population
from metatune.orchestration.initial_weights import NOWHERE, InitialWeights
from metatune.orchestration.known_refinement import PROPOSED, REFINING_SECONDS
from metatune.orchestration.mailbox import SearchOver
from metatune.orchestration.populations import MEASURED
from metatune.orchestration.snapshots import Snapshots
from metatune.space import SearchSpace
from metatune.trial import Trial

# Often enough that little is lost with a worker, seldom enough to cost nothing.
SNAPSHOT_SECONDS = 5.0
# How long a member that has ended may wait for the next snapshot, when none takes its place.
END_SECONDS = 1.0


class PopulationWorker:
    """Trains the members of population `name` on `dataset`, as `training` says.

    `call(method, *arguments)` asks the driver (see Populations.answer). A new worker for the same
    population goes on from its last snapshot.
    """

    def __init__(
        self,
        name: str,
        call: Callable[..., Any],
        dataset: Dataset,
        training: dict[str, Any],
        snapshots: Snapshots,
        weights: InitialWeights = NOWHERE,
        space: SearchSpace | None = None,
    ) -> None:
        self._weights, self._epochs, self._space = weights, training["epochs"], space
        self._kept: dict[int, str] = {}  # the weights of members that have ended
        self._name, self._call, self._snapshots = name, call, snapshots
        self._attempt, measured = call("begin", name)
        self._population = Population(
            dataset,
            epochs=training["epochs"],
            threads=training["threads"],
            device=training.get("device", "cpu"),
            learned=weights.learned(training),
            **measured,
        )
        self._seconds: dict[int, float] = {}  # of training, by member
        self._ended: float | None = None  # when the first member ended that is not recorded yet
        self._saved = time.monotonic()
        self._paths: set[str] = set()
        self._fill()
        self._snapshots.keep_only(self._paths)

    @property
    def live(self) -> int:
        """How many members train."""
        return len(self._population.numbers)

    def tick(self) -> None:
        """Train every member for an epoch; let those leave that end, and others take their
        places."""
        began = time.perf_counter()
        scores = self._population.step()
        share = (time.perf_counter() - began) / len(scores)
        reports = []
        for number, metrics in scores.items():
            self._seconds[number] += share
            epoch = self._population.epoch(number)
            reports.append((number, epoch, metrics, self._seconds[number]))
        leaving, has_room, exploits = self._ask("report", reports)
        for one in exploits:
            self._population.copy(one.source, Member(one.target, one.config, one.seed))
        for number in leaving:
            if self._population.epoch(number) >= self._epochs:
                self._keep_weights(number)
            self._population.leave(number)
        if leaving:
            self._note_end()
        if exploits or self._is_due(has_room):
            self._commit()
        if has_room:
            self._fill()

    def _is_due(self, has_room: bool) -> bool:
        """Whether to save now: the place of a member can be taken only once its end is durable."""
        now = time.monotonic()
        if self._ended is None:
            return now - self._saved >= SNAPSHOT_SECONDS
        return has_room or not self.live or now - self._ended >= END_SECONDS

    def _fill(self) -> None:
        """Let in the members that the driver has for this population."""
        while trials := self._ask("refill", self._population.numbers):
            entered = [self._enter(trial) for trial in self._refined(trials)]
            if len(entered) < len(trials) or not all(entered):
                self._note_end()
                self._commit()

    def _refined(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials with the values that they begin with: those that ask for that are refined,
        together, or each by itself where one does not fit. Without those that then fail."""
        space = self._space
        asking = [trial for trial in trials if space is not None and _is_to_be_refined(trial)]
        if not asking or space is None:
            return list(trials)
        began = time.perf_counter()
        try:
            found = self._population.refined([self._member(trial) for trial in asking], space)
        except Exception as error:
            if len(asking) > 1:
                return [one for trial in trials for one in self._refined([trial])]
            self._fail(asking[0], error)
            return [trial for trial in trials if trial is not asking[0]]
        share = (time.perf_counter() - began) / len(asking)
        revised = {
            trial.number: self._ask("refine", trial.number, values, share)
            for trial, values in zip(asking, found, strict=True)
        }
        return [revised.get(trial.number, trial) for trial in trials]

    def _enter(self, trial: Trial) -> bool:
        """Whether the member could enter, from its checkpoint where it has one; it fails alone."""
        try:
            member = self._member(trial)
            if not self._resume(member, trial):
                self._population.enter(member)
        except SearchOver:
            raise
        except Exception as error:
            self._fail(trial, error)
            return False
        return True

    def _member(self, trial: Trial) -> Member:
        parent = self._weights.parent(trial.training)
        return Member(trial.number, trial.config, trial.seed, parent)

    def _fail(self, trial: Trial, error: Exception) -> None:
        is_ours = isinstance(error, MetatuneError)
        reason = str(error) if is_ours else "".join(traceback.format_exception(error))
        self._ask("fail", trial.number, reason)

    def _resume(self, member: Member, trial: Trial) -> bool:
        self._seconds[member.number] = trial.training.get(REFINING_SECONDS, 0.0)
        saved = trial.checkpoint
        if saved is None:
            return False
        try:
            with self._snapshots.local(saved.path) as folder:
                self._population.resume(member, folder)
        except DamagedFileError:  # or gone
            self._ask("restart", member.number)
            return False
        self._seconds[member.number] = saved.seconds
        self._paths.add(saved.path)
        return True

    def _keep_weights(self, number: int) -> None:
        """Keep the weights of a member that has ended, for others to begin from."""
        population = self._population
        config = population.config(number)
        kept = self._weights.keep(config, lambda: population.weights_by_place(number))
        self._kept |= {} if kept is None else {number: kept}

    def _note_end(self) -> None:
        if self._ended is None:
            self._ended = time.monotonic()

    def _commit(self) -> None:
        """Save all members, and have the driver record that and all that has ended."""
        path = self._snapshots.write(self._population.save) if self.live else None
        is_measured = self._population.at_once is not None
        names = MEASURED if is_measured else ()
        measured = {name: getattr(self._population, name) for name in names}
        self._ask("commit", path, measured, self._kept)
        self._kept = {}
        self._saved, self._ended = time.monotonic(), None
        self._snapshots.delete(self._paths)
        self._paths = {path} if path else set()

    def _ask(self, method: str, *arguments: Any) -> Any:
        return self._call(method, self._name, self._attempt, *arguments)


def _is_to_be_refined(trial: Trial) -> bool:
    fresh = trial.checkpoint is None and PROPOSED not in trial.training
    return fresh and asks_to_be_refined(trial.config)
