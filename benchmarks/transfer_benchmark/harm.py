"""What transfer harms: how often, and how much, it is worse than searching without memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from results import Row

from metatune.parameters import Vectors
from transfer_benchmark.figures import Curves, Key
from transfer_benchmark.methods import AGAIN, ALONE, OURS

COUNTS = (10, 25, 50, 100)
_MARGIN = 0.01


def harm_rows(curves: Curves) -> list[Row]:
    """Harm beside its noise floor: the same figure of the baseline run once more with other seeds.

    The baseline of a task at a count is TPE; and, on the cells that GP has run too, the better of
    both there, by the mean over seeds.
    """
    rows = [row for names in (("tpe",), ("tpe", "gp")) for row in _against(curves, names)]
    return rows + _alone_rows(curves)


def _against(curves: Curves, names: Sequence[str]) -> list[Row]:
    keys = curves.common([OURS, *names, *[AGAIN[name] for name in names]])
    if not keys:
        return []
    case = f"{curves.setting}, against {' and '.join(names)}"
    floor = f"noise floor ({len(keys)} cells)"
    rows = []
    for count in COUNTS:
        base, again = _baselines(curves, names, keys, count)
        ours = curves.regrets(OURS, keys)[:, count - 1]
        for metric, share in (("runs", _runs_harmed), ("tasks", _tasks_harmed)):
            value, noise = share(ours, base, keys), share(again, base, keys)
            rows.append(Row(case, f"share_of_{metric}_harmed_at_{count}", value, floor, noise))
    value, noise = _task_excess(curves, names, keys)
    rows.append(Row(case, "largest_mean_excess_of_a_task_from_25_on", value, floor, noise))
    return rows


def _baselines(
    curves: Curves, names: Sequence[str], keys: Sequence[Key], count: int
) -> tuple[Vectors, Vectors]:
    """Regret [cells] of each task's baseline at a count, and of that baseline run once more."""
    methods = [*names, *[AGAIN[name] for name in names]]
    first = {method: curves.regrets(method, keys)[:, count - 1] for method in methods}
    base, again = np.empty(len(keys)), np.empty(len(keys))
    for rows in _rows_of_tasks(keys):
        better = min(names, key=lambda method: first[method][rows].mean())
        base[rows], again[rows] = first[better][rows], first[AGAIN[better]][rows]
    return base, again


def _rows_of_tasks(keys: Sequence[Key]) -> list[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, (task, _) in enumerate(keys):
        rows.setdefault(task, []).append(row)
    return list(rows.values())


def _runs_harmed(ours: Vectors, base: Vectors, keys: Sequence[Key]) -> float:
    return float(np.mean(ours > base + _MARGIN))


def _tasks_harmed(ours: Vectors, base: Vectors, keys: Sequence[Key]) -> float:
    return float(
        np.mean([ours[rows].mean() > base[rows].mean() + _MARGIN for rows in _rows_of_tasks(keys)])
    )


def _task_excess(curves: Curves, names: Sequence[str], keys: Sequence[Key]) -> tuple[float, float]:
    """The most, over tasks and counts of 25 and above, that the mean regret over seeds exceeds
    the baseline's: ours, and that of the baseline run once more."""
    worst = []
    for count in range(25, curves.regrets(OURS, keys).shape[1] + 1):
        base, again = _baselines(curves, names, keys, count)
        ours = curves.regrets(OURS, keys)[:, count - 1]
        for rows in _rows_of_tasks(keys):
            worst.append([(r[rows] - base[rows]).mean() for r in (ours, again)])
    value, noise = np.max(worst, axis=0)
    return float(value), float(noise)


def _alone_rows(curves: Curves) -> list[Row]:
    """Against the method's own form without past tasks, beside the reverse."""
    keys = curves.common([OURS, ALONE])
    if not keys:
        return []
    ours, alone = curves.regrets(OURS, keys), curves.regrets(ALONE, keys)
    name = f"{ALONE} is worse ({len(keys)} cells)"
    return [
        Row(
            str(curves.setting),
            f"share_of_runs_worse_than_{ALONE}_at_{count}",
            _runs_harmed(ours[:, count - 1], alone[:, count - 1], keys),
            name,
            _runs_harmed(alone[:, count - 1], ours[:, count - 1], keys),
        )
        for count in COUNTS
    ]
