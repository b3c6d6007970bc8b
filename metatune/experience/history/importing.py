"""Import of studies that other tools kept: first a plan of what would be written, then the writing.

A trial is known by tool, study, its key there and a digest of what it tried and measured first, so
that importing again, from a moved or grown source too, adds just what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import metatune
from metatune.errors import ConfigurationError, InputError, StudyError
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut
from metatune.experience.history.inference import Finding, Inferred, conform, infer, is_absent
from metatune.experience.history.outcomes import Outcome, outcome_of, went_on
from metatune.experience.history.own_records import OwnRecords
from metatune.experience.history.passwords import hide_password
from metatune.experience.history.plans import IMPORTED, Choices, ImportPlan, PlannedStudy
from metatune.experience.history.sources import read_source
from metatune.experience.store import ExperienceStore
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Suggestion, Trial

# In the name of a task, stands for the name of each study.
STUDY_FIELD = "{study}"
_TRIALS_AT_ONCE = 2000

EachTrial = Callable[[], object]  # told after each trial


def plan_import(
    store: ExperienceStore, address: str, task: str, choices: Choices | None = None
) -> ImportPlan:
    """What importing the source at `address` as `task` would write into `store`; nothing is.

    In `task`, `{study}` stands for the name of each study. A study that cannot be imported is left
    out with its reason. Raises InputError where that is every one, for a source that nothing can
    read and for a study that it does not have; and what its reader raises.
    """
    choices, shown = choices or Choices(), hide_password(address)
    found = read_source(address, choices.metric, choices.tool, choices.columns)
    if choices.study is not None:
        names = [study.name for study in found]
        found = [study for study in found if study.name == choices.study]
        if not found:
            raise InputError(f"{shown}: there is no study {choices.study!r}; there are {names}")
    planner = _Planner(store, shown, task, choices)
    left_out: list[LeftOut] = []
    refused: list[LeftOut] = []
    for study in found:
        try:
            planner.plan(study)
        except InputError as error:
            what = f"study {study.name!r}"
            left_out += [LeftOut(f"{what}, {one.what}", one.reason) for one in study.left_out]
            refused.append(LeftOut(what, str(error)))
    if not planner.planned:
        raise InputError(f"{planner.address}: nothing can be imported: {_in_short(refused)}")
    return ImportPlan(planner.address, tuple(planner.planned), (*refused, *left_out))


def _in_short(left_out: Sequence[LeftOut]) -> str:
    """The first few of those left out, in one line."""
    reasons = [f"{one.what} {one.reason}" for one in left_out]
    more = f", and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    return "; ".join(reasons[:2]) + more


def carry_out(
    store: ExperienceStore, plan: ImportPlan, each_trial: EachTrial = lambda: None
) -> None:
    """Write what is planned. Interrupted, it is completed by importing again.

    Raises StudyError where another process has added to a study since, and StudyLockedError where
    one is doing so.
    """
    for planned in plan.studies:
        if not planned.trials:
            continue
        name = planned.study.name
        with store.lease(name):
            if _next_number(store.trials(study=name, columns=[])) != planned.trials[0].number:
                raise StudyError(f"study {name!r} has grown since this was planned; import again")
            store.put_study(planned.study)
            for start in range(0, len(planned.trials), _TRIALS_AT_ONCE):
                batch = planned.trials[start : start + _TRIALS_AT_ONCE]
                store.append(batch)
                for _ in batch:
                    each_trial()


def _next_number(trials: Sequence[Trial]) -> int:
    return max((trial.number for trial in trials), default=-1) + 1


class _Planner:
    """Plans the studies of one source one after another."""

    def __init__(self, store: ExperienceStore, address: str, task: str, choices: Choices) -> None:
        self.address = address
        self.planned: list[PlannedStudy] = []
        self._store, self._task, self._choices = store, task, choices
        self._names = store.aliases()
        self._studies = {study.name: study for study in store.studies()}
        self._trials: dict[str, list[Trial]] = {}
        self._own = OwnRecords(store, self._studies.values(), self._trials_of)

    def plan(self, found: FoundStudy) -> None:
        """Plan one study; raises InputError where it cannot be imported."""
        task = self._task_of(found)
        left_out = list(found.left_out)
        outcomes = []
        for trial in found.trials:
            outcome = self._outcome(trial, task)
            if isinstance(outcome, Outcome):
                outcomes.append(outcome)
            else:
                left_out.append(outcome)
        if not outcomes:
            raise InputError(f"has no trial that can be imported{_because(left_out)}")
        known = self._known(found, task)
        new = [o for o in outcomes if (o.found.key, o.digest) not in known]
        left_out += went_on(outcomes, known)
        inferred = self._space(found, [outcome.found for outcome in outcomes])
        space = inferred.space
        if space is None:
            raise InputError(
                f"has no parameter that changes, of {[f.name for f in inferred.findings]}"
            )
        home, findings = self._home(found, task, inferred, space, [o.found.config for o in new])
        trials = []
        for outcome in new:
            config = _conformed(outcome.found, home.space)
            if isinstance(config, LeftOut):
                left_out.append(config)
            else:
                trials.append((outcome, config))
        if new and not trials and not known:
            raise InputError(f"has no trial that fits the space{_because(left_out)}")
        self._keep(found, home, trials, len(outcomes) - len(new), findings, left_out)

    def _outcome(self, trial: FoundTrial, task: Task) -> Outcome | LeftOut:
        """How a trial is to be recorded, or why it is not."""
        outcome = outcome_of(trial, task)
        if isinstance(outcome, LeftOut):
            return outcome
        if all(is_absent(value) for value in trial.config.values()):
            return _without_parameters(trial)
        own = self._own.study_of(outcome, task.name)
        if own is not None:
            reason = f"recorded by metatune when it ran, in study {own!r}"
            return LeftOut(f"trial {trial.key}", reason)
        return outcome

    def _keep(
        self,
        found: FoundStudy,
        home: Study,
        new: Sequence[tuple[Outcome, Config]],
        known: int,
        findings: Sequence[Finding],
        left_out: Sequence[LeftOut],
    ) -> None:
        there = [t for t in self._trials_of(home.task.name) if t.study == home.name]
        first = _next_number(there)
        ended = max((t.finished_index for t in there if t.finished_index is not None), default=-1)
        trials = tuple(
            _trial(home, found, outcome, config, first + index, ended + 1 + index)
            for index, (outcome, config) in enumerate(new)
        )
        self._studies[home.name] = study = replace(home, trials=len(there) + len(trials))
        self._trials[home.task.name] = [*self._trials_of(home.task.name), *trials]
        self.planned.append(
            PlannedStudy(
                found=replace(found, metric=home.task.metric, direction=home.task.direction),
                study=study,
                trials=trials,
                known=known,
                findings=tuple(findings),
                left_out=tuple(left_out),
                aliases=self._aliases(home.space),
            )
        )

    def _aliases(self, space: SearchSpace) -> dict[str, str]:
        """The parameters that have another name elsewhere; where two mean the same, neither has."""
        meanings = {name: self._names.canonical(name) for name in space.names}
        count = Counter(meanings.values())
        return {
            name: other for name, other in meanings.items() if name != other and count[other] == 1
        }

    def _task_of(self, found: FoundStudy) -> Task:
        """The task that a study is of: one that the store has, where it is measured alike."""
        choices = self._choices
        metric = choices.metric or found.metric
        if not found.trials and not found.metrics:
            raise InputError(f"has no trials{_because(found.left_out)}")
        if metric is None:
            raise InputError(
                f"does not say what was optimized; choose with --metric from "
                f"{sorted(found.metrics)}"
            )
        if found.metrics and metric not in found.metrics:
            raise InputError(f"has no metric {metric!r}; it has {sorted(found.metrics)}")
        if not found.trials:
            raise InputError(f"has no trials{_because(found.left_out)}")
        direction = found.direction or choices.direction
        if direction is None:
            raise InputError(
                f"does not say which way {metric!r} is better; say --direction minimize or "
                f"--direction maximize"
            )
        if choices.direction not in (None, direction):
            raise InputError(f"says to {direction} {metric!r}; leave --direction out")
        name = self._task.replace(STUDY_FIELD, found.name)
        task = Task(name, metric, direction, choices.measure)
        alike = [s for s in self._studies.values() if _measures_alike(s.task, task)]
        alike = [study for study in alike if _is_from(study, found)] or alike
        by_data: dict[str, Study] = {}
        for study in alike:
            by_data.setdefault(study.task.data_hash, study)
        if len(by_data) > 1:
            those = ", ".join(f"{data!r} (study {s.name!r})" for data, s in by_data.items())
            raise InputError(
                f"task {name!r} is of several data sets in the store: data hash {those}; give "
                f"another --task name"
            )
        return alike[0].task if alike else task

    def _known(self, found: FoundStudy, task: Task) -> dict[tuple[str, str], Trial]:
        """The trials of a study that the store has, by key and digest."""
        origin = (found.tool, found.key)
        sources = [(trial.training.get(IMPORTED), trial) for trial in self._trials_of(task.name)]
        return {
            (s["trial"], s["digest"]): trial
            for s, trial in sources
            if s and (s["tool"], s["study"]) == origin
        }

    def _trials_of(self, task: str) -> list[Trial]:
        if task not in self._trials:
            columns = ["training", "finished_index", "curve"]
            self._trials[task] = self._store.trials(task=task, columns=columns)
        return self._trials[task]

    def _space(self, found: FoundStudy, trials: Sequence[FoundTrial]) -> Inferred:
        """What the source or the values say of the space, or the space that was given."""
        inferred = infer(trials, found.parameters, found.notes)
        given = self._choices.space
        if given is None:
            return inferred
        source = self._choices.space_source
        names = {finding.name for finding in inferred.findings}
        for name in given.names:
            if name not in names:
                raise InputError(
                    f"has no trial with {name!r}, which {source} has; it has {sorted(names)}"
                )
        findings = [Finding(name, p, f"as in {source}") for name, p in given.parameters.items()]
        others = [f for f in inferred.findings if f.name not in given.parameters]
        findings += [Finding(f.name, None, f"not in {source}") for f in others]
        return Inferred(given, tuple(findings), inferred.constants)

    def _home(
        self,
        found: FoundStudy,
        task: Task,
        inferred: Inferred,
        space: SearchSpace,
        configs: Sequence[Config],
    ) -> tuple[Study, Sequence[Finding]]:
        """The study of the store that new trials go to, and what is then said of its space.

        It is one that was imported from the same source before, where its space is the same or
        fits them as well, and else a new one.
        """
        mine = [s for s in self._studies.values() if _is_from(s, found) and s.task == task]
        for study in mine:
            if study.space.id == space.id:
                return study, inferred.findings
        if self._choices.space is None:
            for study in mine:
                if all(_fits_as_well(config, study.space, space) for config in configs):
                    return study, _as_before(inferred.findings, study)
        return self._new_study(found, task, space, inferred), inferred.findings

    def _new_study(
        self, found: FoundStudy, task: Task, space: SearchSpace, inferred: Inferred
    ) -> Study:
        name = first = f"{found.tool}-{found.name}"
        count = 1
        while name in self._studies:
            count += 1
            name = f"{first}-{count}"
        origin = {
            "tool": found.tool,
            "study": found.key,
            "from": self.address,
            "constants": dict(inferred.constants),
        }
        return Study(
            name=name,
            task=task,
            space=space,
            optimizer=_proposer(found),
            training={IMPORTED: origin},
            versions={"metatune": metatune.__version__},
        )


def _conformed(trial: FoundTrial, space: SearchSpace) -> Config | LeftOut:
    try:
        return conform(trial.config, space) or _without_parameters(trial)
    except ConfigurationError as error:
        return LeftOut(f"trial {trial.key}", str(error))


def _without_parameters(trial: FoundTrial) -> LeftOut:
    return LeftOut(f"trial {trial.key}", "has no parameter")


def _because(left_out: Sequence[LeftOut]) -> str:
    return f" ({_in_short(left_out)})" if left_out else ""


def _measures_alike(one: Task, other: Task) -> bool:
    keys = ("name", "metric", "direction", "measure")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def _is_from(study: Study, found: FoundStudy) -> bool:
    origin = study.training.get(IMPORTED) or {}
    return (origin.get("tool"), origin.get("study")) == (found.tool, found.key)


def _proposer(found: FoundStudy) -> str:
    return f"imported from {found.tool}"


def _fits_as_well(config: Config, before: SearchSpace, now: SearchSpace) -> bool:
    """Whether the space of before says of a configuration all that the one of now does."""
    try:
        return conform(config, before).keys() >= conform(config, now).keys()
    except ConfigurationError:
        return False


def _as_before(findings: Sequence[Finding], study: Study) -> list[Finding]:
    return [
        replace(finding, parameter=parameter, reason=f"as in study {study.name!r} so far")
        if (parameter := study.space.parameters.get(finding.name)) is not None
        else finding
        for finding in findings
    ]


def _trial(
    study: Study, found: FoundStudy, outcome: Outcome, config: Config, number: int, ended: int
) -> Trial:
    origin = {
        "tool": found.tool,
        "study": found.key,
        "trial": outcome.found.key,
        "digest": outcome.digest,
    }
    return Trial(
        study=study.name,
        number=number,
        suggestion=Suggestion(config, _proposer(found)),
        seed=0,
        state=outcome.state,
        curve=outcome.curve,
        value=outcome.value,
        finished_index=ended,
        cost=outcome.found.seconds,
        error=outcome.error,
        training={IMPORTED: origin},
    )
