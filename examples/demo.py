"""metatune on three real tasks, one after another, in a store that starts empty.

The third task is searched twice, with the memory of the first two and without, and the best
configuration is written to demo/best.toml and trained again from that file. The experience that
comes with metatune is left out: some of it is of this very task. Run by `make demo`.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import metatune
from metatune.export import documents, retraining
from metatune.orchestration.cluster import connected
from metatune.orchestration.search import SearchResult
from metatune.trial import TrialState

FOLDER = Path("demo")
SPACE = "mlp"
PAST = ["breast_cancer", "wine"]
NEW = "digits"
TRIALS, EPOCHS = 30, 27
COUNTS = (1, 3, 5, 10, TRIALS)
console = Console(soft_wrap=True)


def run(task: str, *, memory: bool = True) -> SearchResult:
    """One search; with memory it starts from every study before it in the store."""
    name = task if memory else f"{task}-without-memory"
    began = time.monotonic()
    result = metatune.search(
        SPACE,
        task,
        study=name,
        store=FOLDER / "store",
        trials=TRIALS,
        max_steps=EPOCHS,
        memory=memory,
        starter=False,
    )
    states = [trial.state for trial in result.trials]
    best = result.best
    if best is None:
        raise SystemExit(f"{name}: no trial completed")
    console.print(
        f"[bold]{name}[/]: best {result.study.task.metric} {best.value:.4f}, "
        f"{states.count(TrialState.COMPLETE)} complete, {states.count(TrialState.PRUNED)} pruned, "
        f"{states.count(TrialState.FAILED)} failed, {time.monotonic() - began:.0f} s; "
        f"proposed by {result.study.optimizer}",
        highlight=False,
    )
    return result


def best_after(result: SearchResult, count: int) -> float:
    """The best value that the first `count` trials showed, pruned ones included."""
    values = [t.value for t in result.trials[:count] if t.value is not None]
    return min(values, default=float("nan"))


def best_within(result: SearchResult, seconds: float) -> float:
    """The best value of the first trials that together trained for at most `seconds`."""
    spent, count = 0.0, 0
    while count < len(result.trials) and spent + result.trials[count].cost <= seconds:
        spent += result.trials[count].cost
        count += 1
    return best_after(result, count)


def compare(remembered: SearchResult, fresh: SearchResult) -> None:
    """The two searches side by side, win or lose."""
    table = Table("trials", "with memory", "without", "better", title=f"best loss on {NEW}")
    for count in COUNTS:
        a, b = best_after(remembered, count), best_after(fresh, count)
        better = "with memory" if a < b else "without" if b < a else "equal"
        table.add_row(str(count), f"{a:.4f}", f"{b:.4f}", better)
    console.print(table)
    cost = [sum(t.cost for t in result.trials) for result in (remembered, fresh)]
    console.print(f"seconds of training: {cost[0]:.0f} with memory, {cost[1]:.0f} without")
    a, b = (best_within(result, min(cost)) for result in (remembered, fresh))
    console.print(f"after {min(cost):.0f} of them: {a:.4f} with memory, {b:.4f} without")


def main() -> None:
    """Search, compare, export, train again."""
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with connected():
        for task in PAST:
            run(task)
        remembered = run(NEW)
        fresh = run(NEW, memory=False)
    compare(remembered, fresh)
    best = remembered.best
    if best is None:
        raise SystemExit("no trial completed")
    file = FOLDER / "best.toml"
    file.write_text(documents.to_text(documents.document(remembered.study, best), "toml"))
    again = retraining.train(documents.read(file), str(file))
    same = "the same" if again.value == again.recorded else "NOT the same"
    console.print(f"{file} trained again: {again.value!r}, recorded {again.recorded!r}: {same}")
    console.print("on data no search has seen: " + _scores(again.test))
    console.print(f"all of it took {time.monotonic() - began:.0f} s; look at it with:")
    console.print(f"  metatune experience list --store {FOLDER}/store", highlight=False)
    console.print(f"  metatune train {file}", highlight=False)
    console.print("and at what each task gains or loses by what the others taught:")
    console.print(f"  metatune learn --no-starter --store {FOLDER}/store", highlight=False)


def _scores(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


if __name__ == "__main__":
    main()
