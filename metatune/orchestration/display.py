"""What a person sees of a running search."""

from __future__ import annotations

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
        self._known = self._ended()
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
        now = time.monotonic()
        if now < self._next:
            return
        if self._console.is_terminal:
            self._next = now + _REFRESH_SECONDS
            self._live.update(self.render(), refresh=True)
        else:
            self._next = now + _LINE_SECONDS
            self._console.print(self.line(), highlight=False)

    def line(self) -> str:
        """The state of the search in one line."""
        study, trials = self._coordinator.study, self._coordinator.shown()
        count = Counter(trial.state for trial in trials)
        best = best_trial(study.task, trials)
        parts = [f"{study.name}: {self._ended()}/{study.trials} trials"]
        parts += [f"{count[state]} {state.lower()}" for state in TrialState if count[state]]
        if best is not None:
            parts.append(f"best {study.task.metric} {best.value:.6g} (trial {best.number})")
        return ", ".join([*parts, self._time_left()])

    def render(self) -> RenderableType:
        """The state of the search as a small table with a progress bar."""
        study, trials = self._coordinator.study, self._coordinator.shown()
        count = Counter(trial.state for trial in trials)
        table = Table.grid(padding=(0, 2))
        ended = self._ended()
        bar = ProgressBar(total=max(study.trials, 1), completed=ended, width=40)
        table.add_row("trials", Group(Text(f"{ended} of {study.trials}  {self._time_left()}"), bar))
        states = "  ".join(f"{count[state]} {state.lower()}" for state in TrialState)
        table.add_row("", states)
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

    def _ended(self) -> int:
        return sum(trial.state.finished for trial in self._coordinator.shown())

    def _time_left(self) -> str:
        ended = self._ended()
        fresh, elapsed = ended - self._known, time.monotonic() - self._began
        if fresh <= 0:
            return f"{elapsed:.0f} s"
        left = elapsed / fresh * (self._coordinator.study.trials - ended)
        return f"{elapsed:.0f} s, about {left:.0f} s left"
