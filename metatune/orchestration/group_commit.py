"""Writing trials to the store without holding up the search: group commit."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from metatune.trial import Trial


class GroupCommit:
    """Appends trials from a thread of its own, one file for everything since the last commit.

    A trial that has ended is written at once, anything else within `interval` seconds; unless it is
    waited for, no commit begins sooner than `interval` seconds after the one before. What the
    store raises is raised again by the next `record`, `flush`, `check` or `close`.
    """

    def __init__(self, append: Callable[[Sequence[Trial]], None], interval: float = 0.1) -> None:
        self._append = append
        self._interval = interval
        self._waiting: dict[str, Trial] = {}
        self._durable: dict[str, int] = {}
        self._recorded = 0
        self._written = 0
        self._urgent = False
        self._waited_for = False
        self._closing = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="metatune-commit", daemon=True)
        self._thread.start()

    def record(self, *trials: Trial) -> None:
        """Take `trials` into the next commit, together; a later revision of a trial replaces one
        that still waits."""
        if not trials:
            return
        with self._changed:
            self.check()
            self._waiting |= {trial.id: trial for trial in trials}
            self._recorded += 1
            self._urgent |= any(trial.state.finished for trial in trials)
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything recorded so far is durable."""
        with self._changed:
            target = self._recorded
            if self._written < target:
                self._waited_for = True
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._written >= target or self._failure is not None)
            self.check()

    def check(self) -> None:
        """Raise what the store raised, if it did."""
        if self._failure is not None:
            raise self._failure

    def is_durable(self, trial: Trial) -> bool:
        """Whether this revision of `trial`, or a later one, is in the store."""
        return self._durable.get(trial.id, -1) >= trial.revision

    def close(self) -> None:
        """Write what waits and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self.check()

    def __enter__(self) -> GroupCommit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        began = -math.inf
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                if not self._waiting:
                    return
                self._changed.wait_for(lambda: self._urgent or self._is_due(), self._interval)
                pause = began + self._interval - time.monotonic()
                self._changed.wait_for(self._is_due, max(0.0, pause))
                began = time.monotonic()
                batch, upto = list(self._waiting.values()), self._recorded
                self._waiting, self._urgent, self._waited_for = {}, False, False
            try:
                self._append(batch)
            except BaseException as failure:  # raised again by whoever records next
                with self._changed:
                    self._failure = failure
                    self._changed.notify_all()
                return
            with self._changed:
                self._durable |= {trial.id: trial.revision for trial in batch}
                self._written = upto
                self._changed.notify_all()

    def _is_due(self) -> bool:
        return self._waited_for or self._closing
