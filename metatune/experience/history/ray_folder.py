"""Ray Tune experiment folders, from their JSON and CSV files.

How a trial ended, as Ray Tune 2.60 writes it. The experiment's record (experiment_state-*.json)
holds each trial's status, its stop criterion and its last result; result.json holds every result.

- Status ERROR, or error.txt younger than the last result: FAILED.
- The last result is done in the record and is not in result.json: the function returned by itself,
  COMPLETE. The same where it meets the stop criterion.
- It is done in both: a scheduler or stopper ended the trial, or the trainable reported so. Where
  another trial went farther it is PRUNED if Ray Tune wrote `done` (a function's results name the
  checkpoint folder before it), else UNKNOWN. Where none went farther it is COMPLETE if all that
  came there, two at least, ended there so, for a scheduler lets one of those go on unless it is the
  last step; else UNKNOWN.
- It is done in neither: the trial was ended between results (by HyperBand, or with the experiment).
  PRUNED where another went farther, else UNKNOWN.
- Still running in the record, and not done in result.json either: RUNNING, it goes on or its
  driver was killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from metatune.errors import DataError
from metatune.experience.history.found import FoundStudy, FoundTrial, LeftOut
from metatune.experience.history.ray_files import (
    FILES,
    RESULTS,
    ExperimentState,
    Recorded,
    Results,
    read_config,
    read_failure,
    read_results,
    read_state,
)
from metatune.experience.history.runs import (
    as_number,
    assemble,
    check_metric,
    choose_metric,
    is_whole,
    last_value,
    leaves,
    shorten,
)
from metatune.space import Config
from metatune.trial import TrialState

TOOL = "ray"
_DEEPEST = 3  # folders between what is given and a trial's own


class _End(Enum):
    """What is known of how a trial ended."""

    FAILED = auto()
    ITSELF = auto()
    STOPPED = auto()
    EITHER = auto()
    BETWEEN_RESULTS = auto()
    GOES_ON = auto()
    UNSAID = auto()


@dataclass(frozen=True)
class _Read:
    """What is known of a trial before it is compared with the others."""

    name: str
    config: Config
    results: Results
    end: _End
    error: str | None


def recognizes(address: str) -> bool:
    """Whether a folder is, or holds, an experiment of Ray Tune."""
    try:
        return next(_trial_folders(Path(address)), None) is not None
    except (OSError, ValueError):
        return False


def read(address: str, metric: str | None) -> list[FoundStudy]:
    """The experiments in a folder, each a study, its trials in the order of their names.

    Curves are by training iteration, seconds those that the trial took until then. Raises
    DataError for a folder without experiments and for a metric that none of them reports.
    """
    experiments: dict[Path, set[str]] = {}
    for folder in _trial_folders(Path(address)):
        experiments.setdefault(folder.parent, set()).add(folder.name)
    if not experiments:
        raise DataError(
            f"{address}: no experiment of Ray Tune; there must be folders with {RESULTS}"
        )
    root = Path(address).resolve()
    whole = root.name not in experiments.get(root.parent, ())
    studies = [
        _study(folder, names, read_state(folder), metric, whole)
        for folder, names in sorted(experiments.items())
    ]
    check_metric(address, metric, studies)
    return studies


def _trial_folders(root: Path) -> Iterator[Path]:
    root = root.resolve()
    for here, folders, files in os.walk(root):
        if len(FILES.intersection(files)) > 1:
            yield Path(here)
            folders.clear()
        elif len(Path(here).relative_to(root).parts) >= _DEEPEST:
            folders.clear()
        folders.sort()


def _study(
    folder: Path, names: set[str], state: ExperimentState, asked: str | None, whole: bool
) -> FoundStudy:
    """The experiment in a folder; unless `whole`, only those trials of it that are named."""
    metric = asked or state.metric
    everyone = names.union(state.trials) if whole else names
    found = [_trial(folder / name, state.trials.get(name), metric) for name in sorted(everyone)]
    metrics = {one for read in found if isinstance(read, _Read) for one in read.results.metrics}
    chosen = choose_metric(asked, state.metric, metrics)
    if chosen is not None and chosen != metric:
        return _study(folder, names, state, chosen, whole)
    trials = [*_notes(state.problem, found), *_judge(found, chosen)]
    key = f"{folder.name}@{state.session}" if state.session else folder.name
    return assemble(key, folder.name, TOOL, trials, chosen, metrics)


def _trial(folder: Path, recorded: Recorded | None, metric: str | None) -> _Read | LeftOut:
    try:
        results = read_results(folder, metric)
        logged = results.step
        others = [results.last.get("config"), recorded and recorded.config]
        if recorded is not None and _step(recorded.last) > logged:
            results.add(dict(recorded.last), metric)
        config = read_config(folder, others)
        failure = read_failure(folder)
    except (OSError, ValueError, RecursionError) as error:
        return LeftOut(f"trial {folder.name}", str(error))
    if results.config_changed:
        changed = "its configuration changed while it ran (population based?)"
        return LeftOut(f"trial {folder.name}", changed)
    end = _end(logged, results, recorded, failure)
    reason = shorten(failure[1]) if failure and end is _End.FAILED else None
    return _Read(folder.name, config, results, end, reason)


def _end(
    logged: int,
    results: Results,
    recorded: Recorded | None,
    failure: tuple[str, str] | None,
) -> _End:
    """How a trial ended; of its results those up to step `logged` are in its own files."""
    last = results.last
    stale = recorded is None or _step(recorded.last) < results.step
    is_lost = results.step > logged
    if recorded is not None and recorded.status == "ERROR" and not stale:
        return _End.FAILED
    gave_up = recorded is None or recorded.status != "TERMINATED"
    # Where it failed and went on, its results are younger than the failure.
    if failure and gave_up and failure[0] >= str(last.get("date", "")):
        return _End.FAILED
    if last.get("done") is True:
        if recorded and _meets(recorded.criterion, last):
            return _End.ITSELF
        return _End.STOPPED if not is_lost and _tune_says_done(last) else _End.EITHER
    if recorded is not None and recorded.status != "TERMINATED":
        return _End.GOES_ON
    if recorded is None or stale:
        return _End.UNSAID
    return _End.ITSELF if recorded.last.get("done") is True else _End.BETWEEN_RESULTS


def _meets(criterion: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    reached = dict(leaves(last, "/"))
    pairs = [(as_number(reached.get(name)), as_number(goal)) for name, goal in criterion.items()]
    return any(a is not None and b is not None and a >= b for a, b in pairs)


def _tune_says_done(last: Mapping[str, Any]) -> bool:
    """Whether `done` was added by Ray Tune, behind what a function reported."""
    keys = list(last)
    return "checkpoint_dir_name" in last and keys.index("checkpoint_dir_name") < keys.index("done")


def _judge(found: list[_Read | LeftOut], metric: str | None) -> Iterator[FoundTrial | LeftOut]:
    """The trials, each with its state, for which the others count too."""
    read = [one for one in found if isinstance(one, _Read)]
    farthest = max((one.results.step for one in read), default=0)
    last = [one.end for one in read if one.results.step == farthest]
    # One that went on from there, and failed or was ended before its next result, tells that
    # others may have been stopped there.
    is_end = len(last) > 1 and {*last} <= {_End.ITSELF, _End.STOPPED, _End.EITHER}
    for one in found:
        if isinstance(one, LeftOut):
            yield one
            continue
        curve = tuple(one.results.curve) if metric is not None else ()
        state = _state(one, farthest, is_end)
        value = None if state is TrialState.FAILED else last_value(curve)
        seconds = one.results.seconds
        yield FoundTrial(one.name, one.config, state, curve, value, seconds, one.error)


def _state(one: _Read, farthest: int, is_end: bool) -> TrialState:
    if one.end is _End.FAILED:
        return TrialState.FAILED
    if one.end is _End.ITSELF:
        return TrialState.COMPLETE
    if one.end is _End.UNSAID:
        return TrialState.UNKNOWN
    if one.end is _End.GOES_ON:
        return TrialState.RUNNING
    if one.results.step < farthest:
        return TrialState.UNKNOWN if one.end is _End.EITHER else TrialState.PRUNED
    return TrialState.COMPLETE if is_end else TrialState.UNKNOWN


def _notes(problem: LeftOut | None, found: list[_Read | LeftOut]) -> Iterator[LeftOut]:
    if problem is not None:
        yield problem
    for one in found:
        if isinstance(one, _Read) and one.results.damaged:
            reason = f"{one.results.damaged} lines of its results are damaged"
            yield LeftOut(f"trial {one.name}", reason)


def _step(result: Mapping[str, Any]) -> int:
    step = result.get("training_iteration", 0)
    return step if is_whole(step) else 0
