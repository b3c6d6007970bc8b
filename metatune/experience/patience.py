"""Waiting for a store on the network that does not answer for a while."""

from __future__ import annotations

import math
import os
import re
import threading
import time
import warnings
from collections.abc import Callable
from typing import TypeVar

from metatune.errors import InputError

Answer = TypeVar("Answer")
# How long a store is waited for, and one that has never answered: its address may be wrong.
SECONDS, FIRST_SECONDS = 300.0, 10.0
VARIABLE = "METATUNE_STORE_PATIENCE"
# Each attempt is some within the S3 client already, which take about six seconds.
_PAUSE_SECONDS = 1.0
# What S3 servers, and the way to them, say when it is worth asking again.
_PASSING = re.compile(
    r"AWS Error (NETWORK_CONNECTION|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING"
    r"|REQUEST_TIMEOUT|UNKNOWN \(HTTP status (5\d\d|408|429)\))"
)


class Patience:
    """Calls something again, as long as a store at `where` does not answer, for up to `seconds`.

    The default is 300, or what the environment says in METATUNE_STORE_PATIENCE; 0 is to ask once.
    As long as the store has never answered it is 10 at most, for its address may be wrong.
    Where it is waited for, one warning says so. Only what may be done twice may be called. Safe to
    use from any thread. Raises InputError unless `seconds` is a number of at least 0.
    """

    def __init__(
        self, where: str, seconds: float | None = None, has_answered: bool = False
    ) -> None:
        self._where = where
        self._seconds = _from_environment() if seconds is None else seconds
        if not 0 <= self._seconds < math.inf:
            raise InputError(f"patience = {seconds!r} must be a number of seconds of at least 0")
        self._has_answered = has_answered
        self._has_said = False
        self._lock = threading.Lock()

    def __call__(self, attempt: Callable[[], Answer]) -> Answer:
        """What `attempt` gives, or raises where that will not pass or has lasted too long."""
        began = time.monotonic()
        while True:
            try:
                answer = attempt()
            except Exception as error:
                passing = _PASSING.search(str(error))
                if passing is None:
                    raise
                limit = self._seconds if self._has_answered else min(self._seconds, FIRST_SECONDS)
                waited = time.monotonic() - began
                if waited >= limit:
                    if limit == 0:
                        raise
                    raise type(error)(
                        f"{error}; it did not answer for {waited:.0f} s: give the same command "
                        f"again when it does, and nothing recorded is lost"
                    ) from error
                self._say(passing[1], limit)
                time.sleep(_PAUSE_SECONDS)
            else:
                self._has_answered, self._has_said = True, False
                return answer

    def _say(self, problem: str, limit: float) -> None:
        with self._lock:
            has_said, self._has_said = self._has_said, True
        if not has_said and self._has_answered:
            said = f"store {self._where} does not answer ({problem}): waiting up to {limit:.0f} s"
            warnings.warn(said, stacklevel=2)


def _from_environment() -> float:
    said = os.environ.get(VARIABLE, str(SECONDS))
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{VARIABLE} = {said!r} must be a number of seconds of at least 0")
    return seconds
