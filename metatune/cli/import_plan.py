"""What an import would write, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.table import Column, Table

from metatune.cli import printing
from metatune.experience.history.found import LeftOut
from metatune.experience.history.inference import Finding
from metatune.experience.history.plans import ImportPlan, PlannedStudy
from metatune.parameters import Categorical, Float, Integer, Parameter, Value

# So many of those left out for one reason are named.
_MOST_NAMED = 5


def print_plan(plan: ImportPlan) -> None:
    """Print what would be imported, what is taken for the truth about it, and what is left out."""
    for planned in plan.studies:
        _print_study(planned)
    _print_left_out("studies left out", plan.left_out)


def _print_study(planned: PlannedStudy) -> None:
    study, found = planned.study, planned.found
    ways = Counter(trial.state.lower() for trial in planned.trials)
    ended = ", ".join(f"{count} {state}" for state, count in ways.items())
    printing.OUT.print(
        f"{found.tool} study {found.name!r} -> task {study.task.name!r}, {study.task.direction} "
        f"{study.task.metric}; as study {study.name!r}",
        highlight=False,
        style="bold",
    )
    new = f"{len(planned.trials)} new trials" + (f" ({ended})" if ended else "")
    printing.OUT.print(f"{new}, {planned.known} imported before", highlight=False)
    heads = ("parameter", "kind", "range or choices", "scale", "known from")
    table = Table(*(Column(head, overflow="fold") for head in heads))
    for finding in planned.findings:
        if finding.parameter is not None:
            when = _condition(study.space.when.get(finding.name, {}))
            known = "the source" if finding.is_said else "its values"
            why = "; ".join(filter(None, [finding.reason, when]))
            cells = _cells(finding.parameter)
            table.add_row(finding.name, *cells, f"{known}: {why}" if why else known)
    printing.OUT.print(table)
    kept_out = [finding for finding in planned.findings if finding.parameter is None]
    if kept_out:
        printing.OUT.print("kept out of the space:")
        for finding in kept_out:
            printing.OUT.print(f"  {finding.name}: {finding.reason}", highlight=False)
    for name, canonical in planned.aliases.items():
        printing.OUT.print(f"understood as the same thing: {name} -> {canonical}", highlight=False)
    _print_left_out("trials left out", planned.left_out)


def _cells(parameter: Parameter) -> tuple[str, str, str]:
    """Kind, range and scale."""
    if isinstance(parameter, Categorical):
        return "categorical", ", ".join(map(str, parameter.choices)), ""
    kind = {Float: "float", Integer: "integer"}[type(parameter)]
    scale = "log" if parameter.log else "linear"
    return kind, f"{parameter.low:.6g} .. {parameter.high:.6g}", scale


def _condition(when: Mapping[str, tuple[Value, ...]]) -> str:
    parts = [f"{name} in {[*values]}" for name, values in when.items()]
    return f"only where {' and '.join(parts)}" if parts else ""


def _print_left_out(title: str, left_out: tuple[LeftOut, ...]) -> None:
    if not left_out:
        return
    printing.OUT.print(f"{title}:")
    reasons: dict[str, list[str]] = {}
    for one in left_out:
        reasons.setdefault(one.reason, []).append(one.what)
    for reason, whats in reasons.items():
        named = ", ".join(whats[:_MOST_NAMED])
        more = f" and {len(whats) - _MOST_NAMED} more" if len(whats) > _MOST_NAMED else ""
        printing.OUT.print(f"  {named}{more}: {reason}", highlight=False)


def as_tables(plan: ImportPlan) -> dict[str, Any]:
    """The plan in plain tables, for machines."""
    return {
        "from": plan.address,
        "trials": plan.trials,
        "studies": [_study_table(planned) for planned in plan.studies],
        "left_out": _left_out_rows(plan.left_out),
    }


def _study_table(planned: PlannedStudy) -> dict[str, Any]:
    study = planned.study
    return {
        "tool": planned.found.tool,
        "name": planned.found.name,
        "study": study.name,
        "task": study.task.name,
        "metric": study.task.metric,
        "direction": study.task.direction,
        "new": len(planned.trials),
        "known": planned.known,
        "states": dict(Counter(str(trial.state) for trial in planned.trials)),
        "space": study.space.to_dict(),
        "parameters": [_finding_row(finding) for finding in planned.findings],
        "aliases": dict(planned.aliases),
        "left_out": _left_out_rows(planned.left_out),
    }


def _finding_row(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "kept": finding.parameter is not None,
        "said_by_source": finding.is_said,
        "reason": finding.reason,
    }


def _left_out_rows(left_out: tuple[LeftOut, ...]) -> list[dict[str, str]]:
    return [{"what": one.what, "reason": one.reason} for one in left_out]
