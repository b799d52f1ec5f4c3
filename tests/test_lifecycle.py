"""Cancellation, concurrency, event loops, memory."""

from __future__ import annotations

import asyncio
import gc
import ssl
import sys
import tracemalloc
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from helpers import faults
from helpers.clock import clock
from helpers.constants import API_KEY, AUTH_FAILED, PASSWORD, USERNAME
from helpers.faults import TargetFactory, http_target, https_target
from helpers.raw_server import (
    ScriptedServer,
    never_respond,
    respond,
    serve_keepalive,
    succeed,
    wait_until,
)
from helpers.secret_scanner import SecretScanner
from zulip_auth import AuthClient, RetryPolicy, ZulipAuthError, login
from zulip_auth._limits import MAX_ATTEMPTS


class CancelAtNthAwait(Awaitable[Any]):
    """Run a coroutine and cancel the task in its n-th await.

    Attributes:
        reached: Whether there was an n-th await.
        cancelled_at: The time of the cancellation, of `clock`.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int) -> None:
        self._coroutine = coroutine
        self._number = number
        self.reached = False
        self.cancelled_at = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coroutine.__await__()
        number = 0
        try:
            waited_for = next(steps)
            while True:
                number += 1
                if number == self._number:
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    self.reached, self.cancelled_at = True, clock()
                try:
                    value = yield waited_for
                except BaseException as error:  # noqa: BLE001 - passed on
                    waited_for = steps.throw(error)
                else:
                    waited_for = steps.send(value)
        except StopIteration as end:
            return end.value


def open_sockets() -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            count += descriptor.readlink().name.startswith("socket:")
    return count


async def wait_for_open_sockets(sockets: int) -> None:
    """Wait until the server has closed its side of the connections."""
    await wait_until(lambda: open_sockets() <= sockets)


BUSY = respond(429, {"result": "error", "msg": "Busy"}, {"Retry-After": "0.01"})
EMPTY_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CANCELLATION_CASES: dict[str, TargetFactory] = {
    "http": http_target(succeed),
    "https": https_target(succeed),
    "retry": http_target(BUSY, succeed),
    "host name": http_target(succeed),
    "lost connection": http_target(faults.reset_before_headers, succeed),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CANCELLATION_CASES)
@pytest.mark.parametrize("client_type", ["own", "httpx-aiohttp", "httpx"])
async def test_cancel_at_each_await(
    name: str, client_type: str, no_backoff: RetryPolicy, record_property: Any
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("sockets are counted in /proc")
    slowest, number = 0.0, 0
    async with CANCELLATION_CASES[name]() as target:
        site = target.site
        if name == "host name":
            site = site.replace("127.0.0.1", "localhost")
        client = AuthClient(site, retry=no_backoff, **target.options)
        await client.login(USERNAME, PASSWORD)  # lazy imports
        while True:
            number += 1
            target.server.connections = 0  # restart with the first scenario
            tasks, sockets = asyncio.all_tasks(), open_sockets()
            context = target.options.get("ssl_context", EMPTY_CONTEXT)
            transport: Any = AiohttpTransport(verify=context)
            if client_type == "httpx":
                transport = httpx.AsyncHTTPTransport(verify=context)
            if client_type != "own":
                client = AuthClient(site, retry=no_backoff, transport=transport)
            attempt = CancelAtNthAwait(client.login(USERNAME, PASSWORD), number)
            try:
                await asyncio.ensure_future(attempt)
            except asyncio.CancelledError as error:
                slowest = max(slowest, clock() - attempt.cancelled_at)
                SecretScanner(PASSWORD, API_KEY).check_error(error)
            else:
                assert not attempt.reached, "the cancellation was swallowed"
            assert (await client.login(USERNAME, PASSWORD)).api_key == API_KEY
            await transport.aclose()
            await wait_for_open_sockets(sockets)
            new_tasks = asyncio.all_tasks() - tasks
            assert [task for task in new_tasks if "_accept" not in repr(task)] == []
            if not attempt.reached:
                break
    gc.collect()  # a ResourceWarning fails the test
    record_property("cancelled", f"in {number - 1} awaits, at most {slowest * 1000:.1f} ms")
    assert number > (5 if client_type == "httpx" else 3)
    assert slowest < 0.05


@pytest.mark.slow
async def test_many_concurrent_logins(record_property: Any) -> None:
    async with ScriptedServer(serve_keepalive) as server:
        await login(server.site, USERNAME, PASSWORD)  # lazy imports
        gc.collect()
        tracemalloc.start()
        # Of different accounts, since there is a limit for one.
        names = [f"user{number}@zulip.com" for number in range(MAX_ATTEMPTS + 50)]
        await asyncio.gather(*(login(server.site, name, PASSWORD, timeout=300) for name in names))
        peak = tracemalloc.get_traced_memory()[1] / len(names)
        tracemalloc.stop()
        assert len(server.requests) == len(names) + 1
        # The server closes later than the client.
        assert server.peak_connections <= MAX_ATTEMPTS + 20
    record_property("peak memory", f"{peak / 1024:.1f} KiB for each login")
    assert peak < 64 * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [faults.body_of_200_mb, faults.gzipped(1), faults.gzipped(2)],
    ids=["plain", "gzip", "gzip twice"],
)
async def test_memory_of_huge_body(scenario: Any, record_property: Any) -> None:
    peak = 0
    async with ScriptedServer(scenario) as server:
        for _ in range(2):  # the first run imports lazily
            gc.collect()
            tracemalloc.start()
            with pytest.raises(Exception, match="returned HTTP 200"):
                await login(server.site, USERNAME, PASSWORD)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    record_property("peak memory", f"{peak / 2**20:.2f} MiB above idle, the server's part included")
    assert peak < 10 * 2**20


LEAVES_NOTHING: dict[str, Any] = {
    "success": succeed,
    "rejected": respond(401, AUTH_FAILED),
    "malformed": respond(200, b"{}"),
    "lost": faults.reset_before_headers,
    "not HTTP": faults.garbage_with_the_password,
    "timed out": never_respond,
}


@pytest.mark.parametrize("name", LEAVES_NOTHING)
async def test_finished_login_leaves_no_secret(name: str, no_backoff: RetryPolicy) -> None:
    """The password and the form are freed without the garbage collector."""
    password = f"{PASSWORD} {name}"
    needle = quote_plus(password)
    async with ScriptedServer(LEAVES_NOTHING[name]) as server:
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            with suppress(ZulipAuthError):
                await login(server.site, USERNAME, password, retry=no_backoff, timeout=0.3)
            server.requests.clear()
            gc.collect()
            garbage = list(gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    for obj in garbage:
        # Of a frame the variables, of a request the attributes.
        text = repr((obj, getattr(obj, "f_locals", getattr(obj, "__dict__", None))))
        assert needle not in text, type(obj)
        assert password not in text, type(obj)
