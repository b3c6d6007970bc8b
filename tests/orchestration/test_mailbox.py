"""Calls from workers to the driver, on a real Ray."""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any

import pytest
import ray

from metatune.errors import MetatuneError, StoreError
from metatune.orchestration.mailbox import Line, SearchOver, Service

pytestmark = pytest.mark.usefixtures("cluster")


class Caller:
    """A worker."""

    def __init__(self, mailbox: Any) -> None:
        self._line = Line(mailbox)

    def call(self, *arguments: Any) -> Any:
        try:
            return self._line(*arguments)
        except SearchOver:
            return "over"

    def time(self, count: int) -> list[float]:
        """Seconds of each of some calls."""
        seconds = []
        for _ in range(count):
            began = time.perf_counter()
            self._line("echo", list(range(100)))
            seconds.append(time.perf_counter() - began)
        return seconds


def worker(service: Service) -> Any:
    return ray.remote(num_cpus=0)(Caller).remote(service.mailbox)


def test_a_call_is_answered_by_the_driver_within_milliseconds() -> None:
    seen = []

    def answer(method: str, *arguments: Any) -> Any:
        seen.append(threading.current_thread().name)
        return [method, *arguments]

    with Service(answer) as service:
        callers = [worker(service) for _ in range(2)]
        found = ray.get([c.call.remote("add", n) for n, c in enumerate(callers)], timeout=60)
        assert found == [["add", 0], ["add", 1]]
        assert set(seen) == {"metatune-calls"}
        seconds = ray.get(callers[0].time.remote(200), timeout=60)
        assert statistics.median(seconds) < 0.1, "2 ms on an idle machine"
    for caller in callers:
        ray.kill(caller)


def test_a_call_that_waits_is_released_when_the_driver_ends() -> None:
    started = threading.Event()
    gate = threading.Event()

    def answer(method: str) -> Any:
        started.set()
        gate.wait(30)
        return "late"

    with Service(answer) as service:
        caller, other = worker(service), worker(service)
        first = caller.call.remote("slow")
        assert started.wait(30)
        second = other.call.remote("waits")
        time.sleep(0.2)
        threading.Timer(0.2, gate.set).start()
    assert ray.get([first, second], timeout=30) == ["over", "over"]
    assert ray.get(caller.call.remote("too late"), timeout=30) == "over"
    for each in (caller, other):
        ray.kill(each)


def broken(method: str) -> Any:
    raise StoreError("disk full")


def test_what_the_driver_raises_ends_it_and_is_raised_again() -> None:
    def block() -> None:
        with Service(broken) as service:
            caller = worker(service)
            assert ray.get(caller.call.remote("x"), timeout=30) == "over"
            assert ray.get(caller.call.remote("y"), timeout=30) == "over"
            assert service.has_failed
            ray.kill(caller)

    with pytest.raises(StoreError, match="disk full"):
        block()


def test_no_answer_tells_the_worker_to_stop_and_the_service_goes_on() -> None:
    with Service(lambda method: None if method == "stop" else 1) as service:
        caller = worker(service)
        calls = [caller.call.remote(m) for m in ("stop", "go")]
        assert ray.get(calls, timeout=30) == ["over", 1]
        ray.kill(caller)


def test_a_mailbox_that_dies_ends_the_service_in_one_line() -> None:
    def block() -> None:
        with Service(lambda method: None) as service:
            caller = worker(service)
            ray.get(caller.call.remote("x"), timeout=30)
            ray.kill(service.mailbox)
            assert ray.get(caller.call.remote("y"), timeout=30) == "over"
            end = time.monotonic() + 30
            while not service.has_failed and time.monotonic() < end:
                time.sleep(0.05)
            ray.kill(caller)

    with pytest.raises(MetatuneError, match="messages") as caught:
        block()
    assert "\n" not in str(caught.value)


def test_an_error_of_the_block_itself_is_not_hidden() -> None:
    def block() -> None:
        with Service(broken) as service:
            caller = worker(service)
            ray.get(caller.call.remote("x"), timeout=30)
            ray.kill(caller)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        block()
