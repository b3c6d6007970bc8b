"""What commands print: tables for people, JSON for machines."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from metatune.orchestration.reasons import reasons
from metatune.study import Study
from metatune.trial import Trial, TrialState, best_trial

_MOST_REASONS = 3
OUT = Console(soft_wrap=True, markup=False)
ERR = Console(stderr=True, soft_wrap=True, markup=False)


def summary(study: Study, trials: list[Trial]) -> dict[str, Any]:
    """A study in plain tables: how its trials ended, and the best."""
    count = Counter(str(trial.state) for trial in trials)
    best = best_trial(study.task, trials)
    return {
        "study": study.name,
        "task": study.task.name,
        "metric": study.task.metric,
        "direction": study.task.direction,
        "optimizer": study.optimizer,
        "states": {str(state): count[state] for state in TrialState if count[state]},
        "best": best and _best_row(best),
    }


def results(study: Study, trials: list[Trial]) -> dict[str, Any]:
    """The same with the seconds of training in all, and how often which failure happened, those of
    trials that were tried again too, the most frequent first."""
    why = Counter(reason for trial in trials for reason in reasons(trial))
    cost = math.fsum(trial.cost for trial in trials)
    return summary(study, trials) | {"cost": cost, "failures": dict(why.most_common())}


def _best_row(best: Trial) -> dict[str, Any]:
    row = {"number": best.number, "value": best.value, "config": best.config}
    return row | ({"alone": best.training["alone"]} if "alone" in best.training else {})


def print_study(study: Study, trials: list[Trial]) -> None:
    """A study for people, and how to go on from it."""
    print_results(results(study, trials))


def print_results(found: dict[str, Any]) -> None:
    """What `results` says, for people, and how to go on from it."""
    study = found["study"]
    count = ", ".join(f"{n} {state.lower()}" for state, n in found["states"].items())
    line = f"{study}: {count}; proposed by {found['optimizer']}; trained {found['cost']:.0f} s"
    OUT.print(line, highlight=False)
    if why := found["failures"]:
        said = counted(why, _MOST_REASONS)
        OUT.print(f"{sum(why.values())} failures: {said}", highlight=False)
    best = found["best"]
    if best is None:
        OUT.print(f"no trial is complete; see: metatune experience show --study {study}")
        return
    alone = "" if best.get("alone") is None else f"; trained alone {best['alone']:.6g}"
    OUT.print(f"best {found['metric']} {best['value']:.6g} (trial {best['number']}{alone}):")
    table = Table(show_header=False)
    for name, value in best["config"].items():
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    OUT.print(table)
    OUT.print(f"write it with: metatune export {shlex.quote(study)} -o best.toml")


def counted(count: Mapping[str, int], most: int | None = None) -> str:
    """Things in words, with how often each occurs if more than once; at most so many of them."""
    shown = [thing if n == 1 else f"{n} x {thing}" for thing, n in [*count.items()][:most]]
    left = len(count) - len(shown)
    return "; ".join([*shown, *([f"{left} others"] if left else [])])


def trial_row(trial: Trial) -> dict[str, Any]:
    """A trial in plain tables, everything a machine may ask."""
    s = trial.suggestion
    return {
        "id": trial.id,
        "study": trial.study,
        "number": trial.number,
        "state": str(trial.state),
        "config": trial.config,
        "value": trial.value,
        "curve": [[r.step, r.value, r.seconds] for r in trial.curve],
        "error": trial.error,
        "finished_index": trial.finished_index,
        "cost": trial.cost,
        "seed": trial.seed,
        "population": trial.population,
        "optimizer": s.optimizer,
        "tasks": dict(s.tasks),
        "predicted": s.predicted,
        "uncertainty": s.uncertainty,
        "training": dict(trial.training),
    }


@contextmanager
def bar(what: str, total: float | None) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, only on a terminal; what is given advances it by one."""
    with Progress(console=ERR, transient=True, disable=not ERR.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def print_json(value: dict[str, Any]) -> None:
    """A value as JSON on standard output."""
    json.dump(_plain(value), sys.stdout, indent=2)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinities: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
