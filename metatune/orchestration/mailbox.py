"""Calls from workers to the driver, through a small actor between them.

A worker's call waits in the mailbox, where a thread of the driver fetches it, runs it and puts the
answer back. The actor imports nothing heavy, so that it starts in about a second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, TaskCancelledError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from metatune.errors import MetatuneError

# A call that waits for its answer: its key, what is called, and with which arguments.
_Waiting = tuple[int, str, tuple[Any, ...]]
_JOIN_SECONDS = 60.0


class SearchOver(Exception):
    """The driver takes no more calls, or none of this worker's."""


class MailboxDiedError(MetatuneError):
    """The process of the mailbox has died; another may take its place."""


class Mailbox:
    """Where calls wait for the driver, and workers for its answers. Runs as an actor."""

    def __init__(self) -> None:
        self._calls: list[_Waiting] = []
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._arrived = asyncio.Event()
        self._keys = 0
        self._is_closed = False

    async def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        """The driver's answer; None where it takes no more calls."""
        if self._is_closed:
            return None
        self._keys += 1
        key = self._keys
        self._answers[key] = asyncio.get_running_loop().create_future()
        self._calls.append((key, method, arguments))
        self._arrived.set()
        try:
            return await self._answers[key]
        finally:
            del self._answers[key]

    async def exchange(self, answers: dict[int, Any]) -> list[_Waiting] | None:
        """Give answers and wait for calls, of which there is at least one; None once closed."""
        for key, value in answers.items():
            waiting = self._answers.get(key)
            if waiting is not None and not waiting.done():
                waiting.set_result(value)
        await self._arrived.wait()
        if self._is_closed:
            return None
        calls, self._calls = self._calls, []
        self._arrived.clear()
        return calls

    async def close(self) -> None:
        """Take no more calls; those that wait are answered with None."""
        self._is_closed = True
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_result(None)
        self._arrived.set()


class Line:
    """A worker's end: called with a method and its arguments, gives the driver's answer.

    Raises SearchOver where there is none, also when driver and mailbox are gone.
    """

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def __call__(self, method: str, *arguments: Any) -> Any:
        try:
            answer = ray.get(self._mailbox.call.remote(method, arguments))
        except (RayActorError, TaskCancelledError) as error:
            raise SearchOver("the mailbox is gone") from error
        if answer is None:
            raise SearchOver("the driver takes no more calls")
        return answer


class Service:
    """The driver's end: a thread that answers calls with `answer(method, *arguments)`, while the
    block lasts; `mailbox` is the actor.

    What `answer` raises ends the service, and is raised again at the end of the block;
    `has_failed` tells so before. An answer of None tells the worker to stop.
    """

    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="metatune-calls", daemon=True)

    def __enter__(self) -> Service:
        node = ray.get_runtime_context().get_node_id()
        actor = ray.remote(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, False)
        )
        self.mailbox = actor(Mailbox).remote()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        self._thread.join(_JOIN_SECONDS)
        if ray.is_initialized():
            ray.kill(self.mailbox)
        if self._failure is not None and kind is None:
            raise self._failure

    @property
    def has_failed(self) -> bool:
        """Whether calls are no longer answered."""
        return self._failure is not None

    def _run(self) -> None:
        answers: dict[int, Any] = {}
        try:
            while (calls := ray.get(self.mailbox.exchange.remote(answers))) is not None:
                answers = {key: self._answer(method, *given) for key, method, given in calls}
        except RayActorError as error:
            self._failure = MailboxDiedError(
                "the process that carries messages between trials and this one has died; the same "
                "command goes on with the search"
            )
            self._failure.__cause__ = error
        except BaseException as failure:  # raised again at the end of the block
            self._failure = failure
            self._close()

    def _close(self) -> None:
        if not ray.is_initialized():  # the cluster is gone, and a call would start another
            return
        # Where it is dead no worker waits for it, and where it does not answer it is killed next.
        with suppress(RayActorError, GetTimeoutError):
            ray.get(self.mailbox.close.remote(), timeout=_JOIN_SECONDS)
