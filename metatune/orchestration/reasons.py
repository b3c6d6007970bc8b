"""Why trials failed, in one line each."""

from __future__ import annotations

from itertools import dropwhile

from metatune.trial import Trial, TrialState

# Under this in what is known of how a trial was trained stands why it was tried again.
FAILURES = "failures"
_MOST_CHARACTERS = 500


def failures(trial: Trial) -> list[str]:
    """Why the trial was tried again, a line for each time."""
    return list(trial.training.get(FAILURES, ()))


def raised(error: str) -> str:
    """What was raised, type and message, of an error with a traceback; of another the first
    line."""
    _, file, trace = error.rpartition("\n  File ")
    lines = error.strip().splitlines()[:1]
    if file:  # below the last call and its source
        lines = [*dropwhile(lambda line: line.startswith("    "), trace.splitlines()[1:])]
    return " ".join(" ".join(lines).split())[:_MOST_CHARACTERS]


def reasons(trial: Trial) -> list[str]:
    """Why each attempt at a trial failed, the last one too where the trial did."""
    is_failed = trial.state is TrialState.FAILED
    return [*failures(trial), *([raised(trial.error)] if is_failed and trial.error else [])]
