from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from helpers.constants import AUTH_FAILED, PASSWORD, USERNAME
from helpers.raw_server import (
    Connection,
    ScriptedServer,
    never_respond,
    respond,
    serve_keepalive,
    succeed,
    wait_until,
)
from zulip_auth import (
    APITimeoutError,
    AuthClient,
    AuthenticationFailedError,
    RetryPolicy,
    _limits,
    login,
)
from zulip_auth._errors import RequestContext
from zulip_auth._limits import MAX_LOGINS, attempt_slot
from zulip_auth.testing import FakeZulip

CONTEXT = RequestContext("https://chat.example.com", "password", username=USERNAME)


async def test_twenty_tasks(server: FakeZulip) -> None:
    """The right password, twenty times at the same time, is never rate limited."""
    client = AuthClient(server.site)
    credentials = await asyncio.gather(*(client.login(USERNAME, PASSWORD) for _ in range(20)))
    assert len(set(credentials)) == 1


@pytest.mark.parametrize("custom", [False, True])
async def test_logins_of_an_account(custom: bool) -> None:
    """The limit holds over any transport, and over many clients."""
    async with ScriptedServer(serve_keepalive) as server, httpx.AsyncHTTPTransport() as transport:
        options = {"transport": transport} if custom else {}
        await asyncio.gather(
            *(login(server.site, USERNAME, PASSWORD, **options) for _ in range(50))  # type: ignore[arg-type]
        )
        assert len(server.requests) == 50
        # The server closes a connection later than the client.
        assert server.peak_connections <= (MAX_LOGINS if custom else 2 * MAX_LOGINS)


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


@pytest.mark.parametrize("kind", ["site", "account"])
async def test_waiting_to_retry_holds_no_slot(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait for the end of a rate limit do not stop others."""
    monkeypatch.setattr(_limits, "MAX_ATTEMPTS" if kind == "site" else "MAX_LOGINS", 1)
    busy = respond(429, {"result": "error", "msg": "Busy"}, {"Retry-After": "5"})
    async with ScriptedServer(busy, succeed) as server:
        waiting = asyncio.create_task(login(server.site, USERNAME, PASSWORD))
        await server.request_received.wait()
        await login(server.site, USERNAME, PASSWORD, timeout=2)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


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


def test_each_event_loop_has_its_own_slots() -> None:
    """A login in an event loop that does not run any more blocks no other."""

    async def hold(entered: list[str]) -> None:
        async with attempt_slot(CONTEXT, asyncio.get_running_loop().time() + 5):
            entered.append("slot")
            await asyncio.Event().wait()

    loop, entered = asyncio.new_event_loop(), list[str]()
    tasks = [loop.create_task(hold(entered)) for _ in range(MAX_LOGINS)]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(entered) == MAX_LOGINS

    async def enter() -> None:
        async with attempt_slot(CONTEXT, asyncio.get_running_loop().time()):
            pass

    asyncio.run(enter())
    thread = threading.Thread(target=lambda: asyncio.run(enter()))
    thread.start()
    thread.join()
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()


@pytest.mark.parametrize("delay", range(6))
async def test_cancelled_at_any_moment(delay: int) -> None:
    """Whenever a waiter is cancelled, the others get their turn."""
    release, entered = asyncio.Event(), []

    async def hold() -> None:
        async with attempt_slot(CONTEXT, asyncio.get_running_loop().time() + 10):
            entered.append(1)
            await release.wait()

    tasks = [asyncio.create_task(hold()) for _ in range(3 * MAX_LOGINS)]
    await asyncio.sleep(0)
    release.set()
    for _ in range(delay):
        await asyncio.sleep(0)
    for task in tasks[MAX_LOGINS::2]:
        task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(entered) >= 2 * MAX_LOGINS


async def test_rejected_login_frees_its_slot() -> None:
    async with ScriptedServer(respond(401, AUTH_FAILED)) as server:
        for _ in range(MAX_LOGINS + 1):
            with pytest.raises(AuthenticationFailedError):
                await login(server.site, USERNAME, PASSWORD)
