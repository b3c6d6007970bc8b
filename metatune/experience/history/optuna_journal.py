"""Journal files of Optuna: what can be read of one, whatever became of some of its lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatune.errors import DataError

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

_OPERATION = re.compile(rb'\{"op_code": ?(\d+),')
_TRIAL = re.compile(rb'"trial_id": ?(\d+)[,}]')
_CREATE_STUDY, _CREATE_TRIAL = 0, 4
_LINES_LOOKED_AT = 5


def is_journal(path: Path) -> bool:
    """Whether one of the first lines of a file is an operation of an Optuna journal."""
    try:
        with path.open("rb") as file:
            return any(_OPERATION.match(file.readline(4096)) for _ in range(_LINES_LOOKED_AT))
    except OSError:
        return False


class Journal:
    """A journal file, which is read and never written.

    A line that cannot be read spoils the trial it speaks of, by Optuna's id in `broken`. Studies
    and trials are numbered by the lines that create them: after a broken line that may have been
    one of these, no line can be trusted to speak of the trial it seems to. The rest of the journal
    is not read then, as `damage` tells.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken: dict[int, str] = {}
        self.damage = ""
        self._line = 0

    def storage(self) -> JournalStorage:
        """What the journal holds. Raises DataError if it cannot be read, naming the line."""
        from optuna.storages import JournalStorage
        from optuna.storages.journal import BaseJournalBackend

        logs = self._logs

        class Backend(BaseJournalBackend):
            """The journal, all of which is read once."""

            def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
                return logs() if log_number_from == 0 else iter(())

            def append_logs(self, logs: list[dict[str, Any]]) -> None:
                raise NotImplementedError("the journal is only read")

        try:
            return JournalStorage(Backend())
        except (KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
            raise DataError(
                f"Optuna journal {self.path}: line {self._line} is no operation of an Optuna "
                f"journal: {error!r}"
            ) from None

    def _logs(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError as error:
            raise DataError(f"Optuna journal {self.path}: cannot be read: {error}") from None
        for self._line, line in enumerate(lines, start=1):
            log = _operation(line)
            if log is not None:
                yield log
            elif (trial := _trial_of(line)) is not None:
                self.broken[trial] = f"line {self._line} of the journal is broken"
            else:
                rest = len(lines) - self._line
                self.damage = f"line {self._line} is broken, and so {rest} lines after it count not"
                return


def _operation(line: bytes) -> dict[str, Any] | None:
    try:
        log = json.loads(line)
    except ValueError:
        return None
    return log if isinstance(log, dict) and "op_code" in log else None


def _trial_of(line: bytes) -> int | None:
    """The trial that a broken line changes; None where that is not sure, or it may create one."""
    operations, trials = _OPERATION.findall(line), _TRIAL.findall(line)
    if len(operations) != 1 or len(trials) != 1 or line.count(b"op_code") > 1:
        return None
    creates = int(operations[0]) in (_CREATE_STUDY, _CREATE_TRIAL)
    return None if creates else int(trials[0])
