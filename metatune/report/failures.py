"""Trials that failed, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from metatune.report.known import Known
from metatune.report.markup import Plot, Section, counted, folded, paragraph, table
from metatune.space import config_text
from metatune.trial import Trial, TrialState

_MOST_REASONS = 20
_MOST_NAMED = 30
# Of a longer traceback the end is shown, which says most.
_MOST_CHARACTERS = 8_000
_UNKNOWN = "no reason was recorded"


def failures(known: Known) -> Section:
    """Failed trials by reason, with a traceback of each."""
    explanation = "Trials that ended in an error, by the last line of what they raised."
    failed = [trial for trial in known.trials if trial.state is TrialState.FAILED]
    parts: list[str | Plot] = []
    if not failed:
        parts.append(paragraph("No trial failed.", "note"))
        return Section("failures", "Failures", explanation, parts)
    groups = by_reason(failed)
    rows = [(reason, len(trials), _numbers(trials)) for reason, trials in groups.items()]
    parts.append(table(["reason", "failed", "trials"], rows[:_MOST_REASONS]))
    if len(groups) > _MOST_REASONS:
        rest = counted(len(groups) - _MOST_REASONS, "more reason")
        parts.append(paragraph(f"There are {rest}, of fewer trials each."))
    for trials in list(groups.values())[:_MOST_REASONS]:
        if trials[0].error:
            said = f"Trial {trials[0].number}: {config_text(trials[0].config)}"
            parts.append(folded(said, trials[0].error[-_MOST_CHARACTERS:]))
    return Section("failures", "Failures", explanation, parts)


def by_reason(failed: Iterable[Trial]) -> dict[str, list[Trial]]:
    """Failed trials by the last line of their error, most frequent reasons first."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in failed:
        groups[reason(trial)].append(trial)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def reason(trial: Trial) -> str:
    """The last line of a trial's error."""
    lines = [line for line in (trial.error or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else _UNKNOWN


def _numbers(trials: list[Trial]) -> str:
    named = ", ".join(str(trial.number) for trial in trials[:_MOST_NAMED])
    return named + ", ..." * (len(trials) > _MOST_NAMED)
