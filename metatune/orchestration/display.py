"""What a person sees of a running search."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from metatune.orchestration.coordinator import Coordinator
from metatune.space import config_text
from metatune.trial import Trial, TrialState, best_trial

_REFRESH_SECONDS = 0.25
_LINE_SECONDS = 10.0
_REST = 49.0  # seconds without display for each second of it, of which there are more with trials


class Display(Callback):
    """Shows a search on standard error: live in a terminal, a line now and then elsewhere.

    It is a Ray Tune callback and a context manager around the run, which begins with `notes`.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        notes: Sequence[str] = (),
        console: Console | None = None,
    ) -> None:
        self._coordinator = coordinator
        self._notes = notes
        self._console = console or Console(stderr=True, soft_wrap=True, markup=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._began = time.monotonic()
        self._known = _ended(coordinator.shown())
        self._next = 0.0

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Ray Tune writes all it is given into a snapshot, which is never read."""
        return {}

    def __enter__(self) -> Display:
        for note in self._notes:
            self._console.print(note, markup=False, highlight=False)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.update(self.render(), refresh=True)
            self._live.stop()
        else:
            self._console.print(self.line(), highlight=False)

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Ray Tune has handled an event."""
        began = time.monotonic()
        if began < self._next:
            return
        if self._console.is_terminal:
            pause = _REFRESH_SECONDS
            self._live.update(self.render(), refresh=True)
        else:
            pause = _LINE_SECONDS
            self._console.print(self.line(), highlight=False)
        now = time.monotonic()
        self._next = max(began + pause, now + _REST * (now - began))

    def line(self) -> str:
        """The state of the search in one line."""
        study, trials = self._coordinator.study, self._coordinator.shown()
        count = Counter(trial.state for trial in trials)
        best, ended = best_trial(study.task, trials), _ended(trials)
        parts = [f"{study.name}: {ended}/{study.trials} trials"]
        parts += [f"{count[state]} {state.lower()}" for state in TrialState if count[state]]
        if best is not None:
            parts.append(f"best {study.task.metric} {best.value:.6g} (trial {best.number})")
        parts += [f"trained {self._cost()}"] if self._is_limited() else []
        return ", ".join([*parts, self._time_left(ended)])

    def render(self) -> RenderableType:
        """The state of the search as a small table with a progress bar."""
        study, trials = self._coordinator.study, self._coordinator.shown()
        count = Counter(trial.state for trial in trials)
        table = Table.grid(padding=(0, 2))
        ended = _ended(trials)
        bar = ProgressBar(total=max(study.trials, 1), completed=ended, width=40)
        left = self._time_left(ended)
        table.add_row("trials", Group(Text(f"{ended} of {study.trials}  {left}"), bar))
        states = "  ".join(f"{count[state]} {state.lower()}" for state in TrialState)
        table.add_row("", states)
        if self._is_limited():
            table.add_row("trained", self._cost())
        best = best_trial(study.task, trials)
        if best is not None:
            table.add_row("best", f"{study.task.metric} {best.value:.6g}  (trial {best.number})")
            table.add_row("", Text(config_text(best.config), overflow="fold"))
        table.add_row("proposed by", self._origins(trials))
        return Group(Text(study.name, style="bold"), table)

    def _origins(self, trials: list[Trial]) -> str:
        count = Counter(trial.suggestion.optimizer for trial in trials)
        text = "  ".join(f"{name} {number}" for name, number in count.items())
        spoke = trials[-1].suggestion.tasks if trials else {}
        told = sorted(spoke.items(), key=lambda item: -item[1])[:3]
        return text + "".join(f"  {name} {weight:.0%}" for name, weight in told)

    def _is_limited(self) -> bool:
        return self._coordinator.cost_budget < math.inf

    def _cost(self) -> str:
        return f"{self._coordinator.cost:.0f} of {self._coordinator.cost_budget:.0f} s"

    def _time_left(self, ended: int) -> str:
        fresh, elapsed = ended - self._known, time.monotonic() - self._began
        if fresh <= 0:
            return f"{elapsed:.0f} s"
        left = elapsed / fresh * (self._coordinator.study.trials - ended)
        return f"{elapsed:.0f} s, about {left:.0f} s left"


def _ended(trials: Sequence[Trial]) -> int:
    return sum(trial.state.finished for trial in trials)
