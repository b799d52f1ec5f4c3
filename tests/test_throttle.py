from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import httpx
import pytest

from helpers.constants import PASSWORD, USERNAME
from helpers.raw_server import (
    Connection,
    ScriptedServer,
    never_respond,
    serve_keepalive,
    wait_until,
)
from zulip_auth import APITimeoutError, AuthClient, RetryPolicy, _throttle, login
from zulip_auth._throttle import MAX_LOGINS, _slots, login_slot
from zulip_auth.testing import FakeZulip

SITE = "https://chat.example.com"


@pytest.fixture(autouse=True)
def all_released() -> object:
    yield
    assert _slots == {}


async def test_twenty_tasks(server: FakeZulip) -> None:
    """The right password, twenty times at the same time, is never rate limited."""
    client = AuthClient(server.site)
    credentials = await asyncio.gather(*(client.login(USERNAME, PASSWORD) for _ in range(20)))
    assert len(set(credentials)) == 1


@pytest.mark.parametrize("custom", [False, True])
async def test_peak_connections(custom: bool) -> None:
    """It holds over any transport, and over many clients."""
    async with ScriptedServer(serve_keepalive) as server, httpx.AsyncHTTPTransport() as transport:
        options = {"transport": transport} if custom else {}
        await asyncio.gather(
            *(login(server.site, USERNAME, PASSWORD, **options) for _ in range(200))  # type: ignore[arg-type]
        )
        assert server.peak_connections == MAX_LOGINS
        assert len(server.requests) == 200


async def test_other_accounts_are_not_limited() -> None:
    peak = 3 * MAX_LOGINS

    async def hold(connection: Connection) -> None:
        await connection.read()
        await wait_until(lambda: server.open_connections == peak)
        await connection.wait_closed()

    async with ScriptedServer(hold) as server:
        tasks = [
            asyncio.create_task(login(server.site, f"{name}@zulip.com", PASSWORD))
            for name in "abc"
            for _ in range(2 * MAX_LOGINS)
        ]
        await wait_until(lambda: server.open_connections == peak)
        assert server.peak_connections == peak
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_threads_with_loops() -> None:
    async with ScriptedServer(serve_keepalive) as server:
        errors: list[Exception] = []

        def run() -> None:
            async def logins() -> None:
                await asyncio.gather(*(login(server.site, USERNAME, PASSWORD) for _ in range(10)))

            try:
                asyncio.run(logins())
            except Exception as error:  # noqa: BLE001 - reported below
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert errors == []
        assert len(server.requests) == 80
        assert server.peak_connections <= MAX_LOGINS


async def test_timeout() -> None:
    async with ScriptedServer(never_respond) as server:
        blocking = AuthClient(server.site, retry=RetryPolicy(attempts=1))
        tasks = [asyncio.create_task(blocking.login(USERNAME, PASSWORD)) for _ in range(MAX_LOGINS)]
        await wait_until(lambda: len(server.requests) == MAX_LOGINS)
        with pytest.raises(APITimeoutError) as caught:
            await login(server.site, USERNAME, PASSWORD, timeout=0.01)
        assert caught.value.sent is False
        assert str(caught.value) == (
            f"Timed out waiting for 4 other logins of the same account to {server.site}. "
            "Increase the timeout, or share one ApiKeySource."
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Holder:
    """Tasks that use a slot until `release` is set."""

    def __init__(self, count: int) -> None:
        self.holding = 0
        self.release = asyncio.Event()
        self.tasks = [asyncio.create_task(self._hold()) for _ in range(count)]

    async def _hold(self) -> None:
        async with login_slot(SITE, USERNAME, asyncio.get_running_loop().time() + 10):
            self.holding += 1
            await self.release.wait()


def test_event_loops_that_stop() -> None:
    """A login in an event loop that does not run any more blocks no other."""

    async def login_elsewhere() -> None:
        async with login_slot(SITE, USERNAME, asyncio.get_running_loop().time()):
            pass

    loops = [asyncio.new_event_loop() for _ in range(MAX_LOGINS)]
    holders = []
    for loop in loops:

        async def start() -> Holder:
            return Holder(1)

        holders.append(loop.run_until_complete(start()))
        loop.call_soon(loop.stop)
        loop.run_forever()
    asyncio.run(login_elsewhere())
    for loop, holder in zip(loops, holders, strict=True):
        assert holder.holding == 1
        holder.release.set()
        loop.run_until_complete(holder.tasks[0])
        loop.close()


async def test_login_closed_while_the_lock_is_held() -> None:
    """The garbage collector may run, and close a pending login, at any allocation."""

    async def hold() -> None:
        async with login_slot(SITE, USERNAME, asyncio.get_running_loop().time()):
            await asyncio.get_running_loop().create_future()

    pending = hold()
    pending.send(None)
    with _throttle._lock:
        pending.close()


async def test_cancelled_waiter_passes_the_slot_on() -> None:
    holder = Holder(MAX_LOGINS)
    await asyncio.sleep(0)
    waiters = Holder(3)
    await asyncio.sleep(0)
    waiters.release.set()
    waiters.tasks[0].cancel()  # while it waits
    holder.release.set()
    await asyncio.wait(holder.tasks, return_when=asyncio.FIRST_COMPLETED)
    waiters.tasks[1].cancel()  # while it is woken
    await asyncio.gather(*holder.tasks, *waiters.tasks, return_exceptions=True)
    assert waiters.holding >= 1
    assert not waiters.tasks[2].cancelled()


@pytest.mark.parametrize("delay", range(6))
async def test_cancelled_at_any_moment(delay: int) -> None:
    """Whenever a waiter is cancelled, the others get their turn."""
    holder = Holder(MAX_LOGINS)
    await asyncio.sleep(0)
    waiters = Holder(2 * MAX_LOGINS)
    waiters.release.set()
    await asyncio.sleep(0)
    holder.release.set()
    for _ in range(delay):
        await asyncio.sleep(0)
    for task in waiters.tasks[::2]:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*holder.tasks, *waiters.tasks, return_exceptions=True)
    assert waiters.holding >= MAX_LOGINS


async def test_waiter_of_a_stopped_loop() -> None:
    """A loop that is gone does not get the slot, nor keep it from others."""
    holder, last = Holder(MAX_LOGINS - 1), Holder(1)
    await asyncio.sleep(0)
    abandoned: list[Any] = []

    def start_and_stop() -> None:
        loop = asyncio.new_event_loop()
        abandoned.append(loop)
        waiter = loop.create_task(wait_for_slot())
        loop.call_soon(loop.call_soon, loop.stop)
        loop.run_forever()
        assert not waiter.done()
        abandoned.append(waiter)

    async def wait_for_slot() -> None:
        async with login_slot(SITE, USERNAME, asyncio.get_running_loop().time() + 10):
            raise AssertionError

    await asyncio.to_thread(start_and_stop)
    waiters = Holder(1)
    waiters.release.set()
    await asyncio.sleep(0)
    last.release.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*last.tasks, *waiters.tasks)
    holder.release.set()
    await asyncio.gather(*holder.tasks)
    loop, waiter = abandoned
    waiter.cancel()
    await asyncio.to_thread(loop.run_until_complete, asyncio.wait([waiter]))
    loop.close()


async def test_fork_starts_anew() -> None:
    holder = Holder(MAX_LOGINS)
    await asyncio.sleep(0)
    assert holder.holding == MAX_LOGINS
    pid = os.fork()
    if not pid:  # pragma: no cover - the child
        os._exit(0 if not _slots else 1)
    try:
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    assert os.waitstatus_to_exitcode(status) == 0
    holder.release.set()
    await asyncio.gather(*holder.tasks)
