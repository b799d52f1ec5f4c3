from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from helpers.constants import PASSWORD, USERNAME
from helpers.errors import login_error
from helpers.raw_server import (
    ScriptedServer,
    never_respond,
    respond,
    serve_keepalive,
    succeed,
    wait_until,
)
from zulip_auth import APITimeoutError, AuthClient, _limits, login
from zulip_auth._errors import RequestContext
from zulip_auth._limits import MAX_LOGINS, attempt_slot
from zulip_auth.testing import FakeZulip

CONTEXT = RequestContext("https://chat.example.com", "password", username=USERNAME)
LIMITS = {"site": "MAX_ATTEMPTS", "account": "MAX_LOGINS"}


async def hold(release: asyncio.Event, entered: list[int], timeout: float = 10) -> None:
    async with attempt_slot(CONTEXT, asyncio.get_running_loop().time() + timeout):
        entered.append(1)
        await release.wait()


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_right_password_is_never_rate_limited(server: FakeZulip) -> None:
    client = AuthClient(server.site)
    credentials = await asyncio.gather(*(client.login(USERNAME, PASSWORD) for _ in range(20)))
    assert len(set(credentials)) == 1


@pytest.mark.parametrize("custom", [False, True])
async def test_logins_of_an_account(custom: bool) -> None:
    """The limit holds over any transport, and over many clients."""
    async with ScriptedServer(serve_keepalive) as server, httpx.AsyncHTTPTransport() as transport:
        options: Any = {"transport": transport} if custom else {}
        await asyncio.gather(
            *(login(server.site, USERNAME, PASSWORD, **options) for _ in range(20))
        )
        assert len(server.requests) == 20
        # The server closes a connection later than the client.
        assert server.peak_connections <= (MAX_LOGINS if custom else 2 * MAX_LOGINS)


async def test_other_accounts_are_not_limited() -> None:
    async with ScriptedServer(never_respond) as server:
        tasks = [
            asyncio.create_task(login(server.site, f"{name}@zulip.com", PASSWORD))
            for name in "abc"
            for _ in range(2 * MAX_LOGINS)
        ]
        await wait_until(lambda: server.open_connections == 3 * MAX_LOGINS)
        await cancel(*tasks)
        assert server.peak_connections == 3 * MAX_LOGINS


@pytest.mark.parametrize("kind", LIMITS)
async def test_waiting_to_retry_holds_no_slot(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait for the end of a rate limit do not stop others."""
    monkeypatch.setattr(_limits, LIMITS[kind], 1)
    busy = respond(429, {"result": "error", "msg": "Busy"}, {"Retry-After": "5"})
    async with ScriptedServer(busy, succeed) as server:
        waiting = asyncio.create_task(login(server.site, USERNAME, PASSWORD))
        await server.request_received.wait()
        await login(server.site, USERNAME, PASSWORD, timeout=2)
        assert not waiting.done()
        await cancel(waiting)


@pytest.mark.parametrize(
    ("kind", "others", "hint"),
    [
        ("site", "attempts", "start fewer logins simultaneously"),
        ("account", "logins of the same account", "share one ApiKeySource"),
    ],
)
async def test_timeout(kind: str, others: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_limits, LIMITS[kind], 1)
    async with ScriptedServer(never_respond) as server:
        first = asyncio.create_task(login(server.site, USERNAME, PASSWORD))
        await server.request_received.wait()
        error = await login_error(APITimeoutError, server.site, timeout=0.05)
        await cancel(first)
    assert error.sent is False
    assert str(error) == (
        f"Timed out waiting for 1 other {others} to {server.site}. Increase the timeout, or {hint}."
    )
    assert len(server.requests) == 1


def test_each_event_loop_has_its_own_slots() -> None:
    """A login in an event loop that does not run any more blocks no other."""
    loop, entered = asyncio.new_event_loop(), list[int]()
    tasks = [loop.create_task(hold(asyncio.Event(), entered)) for _ in range(MAX_LOGINS)]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(entered) == MAX_LOGINS

    async def enter() -> None:
        release = asyncio.Event()
        release.set()
        await hold(release, entered, timeout=0)

    asyncio.run(enter())
    with ThreadPoolExecutor() as executor:
        executor.submit(asyncio.run, enter()).result(10)
    loop.run_until_complete(cancel(*tasks))
    loop.close()


@pytest.mark.parametrize("delay", range(6))
async def test_cancelled_at_any_moment(delay: int) -> None:
    """Whenever a waiter is cancelled, the others get their turn."""
    release, entered = asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(hold(release, entered)) for _ in range(3 * MAX_LOGINS)]
    await asyncio.sleep(0)
    release.set()
    for _ in range(delay):
        await asyncio.sleep(0)
    for task in tasks[MAX_LOGINS::2]:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(entered) >= 2 * MAX_LOGINS
