from __future__ import annotations

import asyncio
import gc
import os
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from zulip_auth import InvalidInputError
from zulip_auth._single_flight import SingleFlight


@pytest.fixture(autouse=True)
def reports(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is reported to the log, such as an exception that no caller retrieved."""
    monkeypatch.setattr("zulip_auth._single_flight._FOREIGN_LOOP_CHECK", 0.01)
    gc.collect()  # what other tests left
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


class Work:
    """Count its calls, and wait for *release* of any thread before it ends."""

    def __init__(self) -> None:
        self.calls = 0
        self.started, self.release = threading.Event(), threading.Event()

    async def __call__(self) -> int:
        self.calls += 1
        self.started.set()
        while not self.release.is_set():  # noqa: ASYNC110 - of another event loop
            await asyncio.sleep(0)
        return self.calls


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def flights() -> SingleFlight[int]:
    return SingleFlight()


async def join(flights: SingleFlight[int], work: Any) -> int | None:
    flight = flights.join(work)
    error = await flight.wait()
    if error is not None:
        raise error
    return flight.result


def start_in_loop(flights: SingleFlight[int], func: Any, work: Work) -> asyncio.AbstractEventLoop:
    """Stop an event loop in the middle of the work."""
    loop = asyncio.new_event_loop()
    loop.call_soon(flights.join, func)
    while not work.started.is_set():
        loop.call_soon(loop.stop)
        loop.run_forever()
    return loop


def test_callers_of_other_threads(flights: SingleFlight[int], work: Work) -> None:
    all_wait = threading.Barrier(3, work.release.set, timeout=10)

    async def join_often() -> list[int | None]:
        callers = [asyncio.create_task(join(flights, work)) for _ in range(100)]
        await asyncio.sleep(0)
        all_wait.wait()
        return await asyncio.gather(*callers)

    with ThreadPoolExecutor() as executor:
        results = [executor.submit(asyncio.run, join_often()) for _ in range(3)]
        assert {number for result in results for number in result.result(10)} == {1}
    assert asyncio.run(join(flights, work)) == 2


async def test_cancelled_callers(flights: SingleFlight[int], work: Work) -> None:
    """Neither the others nor the work end with them."""
    callers = [asyncio.create_task(join(flights, work)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    callers[2].cancel()
    work.release.set()
    assert await callers[1] == 1
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results].count(asyncio.CancelledError) == 2


@pytest.mark.parametrize("steps", [0, 3])
async def test_work_that_other_code_cancels(
    steps: int, flights: SingleFlight[int], work: Work
) -> None:
    """As a test runner that cancels all tasks of an event loop, also before their first step."""
    flight = flights.join(work)
    waiting = asyncio.create_task(flight.wait())
    for _ in range(steps):
        await asyncio.sleep(0)
    assert flight._task is not None
    flight._task.cancel()
    assert await waiting is None
    assert flight.result is None
    work.release.set()
    assert await join(flights, work) == work.calls


EXCEPTIONS = [OSError, SystemExit, KeyboardInterrupt, pytest.skip.Exception, MemoryError]


@pytest.mark.parametrize("exc_type", EXCEPTIONS, ids=lambda exc_type: exc_type.__name__)
def test_exception_reaches_all(exc_type: type[BaseException], flights: SingleFlight[int]) -> None:
    error, caught = exc_type("broken"), []

    async def fail() -> int:
        await asyncio.sleep(0)
        raise error

    async def call() -> None:
        try:
            await join(flights, fail)
        except BaseException as exc:  # noqa: BLE001 - the subject of this test
            caught.append(exc)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*(call() for _ in range(5))), 10)

    asyncio.run(main())
    assert caught == [error] * 5
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert [frame.f_code.co_name for frame in frames].count("call") == 1  # not one for each caller


@pytest.mark.parametrize("in_task", [False, True])
async def test_work_that_waits_for_itself(in_task: bool, flights: SingleFlight[int]) -> None:
    async def work() -> int:
        await (asyncio.gather(join(flights, work)) if in_task else join(flights, work))
        return 1

    with pytest.raises(InvalidInputError, match=r"must not wait for its own source\.$"):
        await asyncio.wait_for(join(flights, work), 10)


async def test_task_that_outlives_the_work(flights: SingleFlight[int], work: Work) -> None:
    """It may be a caller of the next one."""
    work.release.set()
    tasks = []

    async def start_task() -> int:
        async def wait() -> int | None:
            while flights._flight is None or flights._flight.is_alive():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0)
            return await join(flights, work)

        tasks.append(asyncio.create_task(wait()))
        return 0

    assert await join(flights, start_task) == 0
    assert await asyncio.wait_for(tasks[0], 10) == 1


def test_event_loop_of_another_thread_stops(flights: SingleFlight[int], work: Work) -> None:
    """Those who wait for its work start their own."""
    loop = asyncio.new_event_loop()
    loop.call_soon_threadsafe(flights.join, work)

    async def main() -> int | None:
        flight = flights.join(work)
        loop.call_soon_threadsafe(loop.stop)
        assert await asyncio.wait_for(flight.wait(), 10) is None
        work.release.set()
        return await join(flights, work)

    with ThreadPoolExecutor() as executor:
        running = executor.submit(loop.run_forever)
        assert work.started.wait(10)
        assert asyncio.run(main()) == 2
        running.result(10)
    loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop)))
    loop.close()


def test_event_loop_that_continues(flights: SingleFlight[int], work: Work) -> None:
    loop = start_in_loop(flights, work, work)
    first = flights._flight
    assert first is not None
    work.release.set()
    assert asyncio.run(join(flights, work)) == 2
    loop.run_until_complete(first.wait())
    assert first.result == 2  # the calls so far
    loop.close()


def test_event_loop_that_is_closed(
    flights: SingleFlight[int], work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    """The work releases its lock before the next work starts, and not when it is collected."""
    order = []

    async def hold() -> int:
        try:
            return await work()
        finally:
            order.append("released")
            raise RuntimeError("the end may need the event loop")

    async def next_work() -> int:
        order.append("next")
        return 2

    start_in_loop(flights, hold, work).close()
    first = flights._flight
    assert first is not None
    assert asyncio.run(join(flights, next_work)) == 2
    assert order == ["released", "next"]
    assert asyncio.run(first.wait()) is None
    del first
    gc.collect()
    messages = [record.getMessage().partition("\n")[0] for record in caplog.records]
    assert messages == ["Task was destroyed but it is pending!"]  # a report of asyncio
    caplog.clear()


def test_caller_whose_event_loop_is_closed(flights: SingleFlight[int], work: Work) -> None:
    """It is not a failure that the work of another thread ends after it."""
    with ThreadPoolExecutor() as executor:
        working = executor.submit(asyncio.run, join(flights, work))
        assert work.started.wait(10)
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(join(flights, work), 0.01))
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(join(flights, work))
        loop.run_until_complete(asyncio.sleep(0.01))
        waiting.cancel()
        loop.run_until_complete(asyncio.wait({waiting}))
        loop.close()
        work.release.set()
        assert working.result(10) == 1


def test_fork_while_another_thread_has_the_lock(
    flights: SingleFlight[int], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.release.set()
    asyncio.run(join(flights, work))
    first = flights._flight
    assert first is not None
    with ThreadPoolExecutor(1) as other:
        other.submit(flights.lock.acquire).result()
        other.submit(first._end._condition.acquire).result()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert asyncio.run(join(flights, work)) == 2
