"""The thread of the stand-in server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from types import MethodType

import httpx
import pytest
from freezegun import freeze_time

from zulip_auth.testing import FakeZulip


@pytest.fixture(autouse=True)
def _fast_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zulip_auth.testing.server_thread.TICK", 0.001)


def kill(server: FakeZulip) -> None:
    """End the thread with an error."""
    thread = server._thread
    assert thread is not None

    async def fail(_self: object, _counter: int) -> bool:
        raise OSError("too many open files")

    thread._server.on_tick = MethodType(fail, thread._server)  # type: ignore[method-assign]
    thread.join(10)
    assert not thread.is_alive()


async def test_dead_thread_is_reported() -> None:
    server = FakeZulip()
    server.start()
    kill(server)
    assert repr(server).endswith(" died>")
    with pytest.raises(RuntimeError, match="died"):
        _ = server.site
    with pytest.raises(RuntimeError, match="died"):
        await server.wait_for("GET", "/")
    error = ZeroDivisionError()  # which it does not hide
    server.__exit__(type(error), error, None)
    with pytest.raises(RuntimeError, match=r"died: OSError\('too many open files'\)") as caught:
        server.__exit__(None, None, None)
    assert isinstance(caught.value.__cause__, OSError)
    server.start()
    async with httpx.AsyncClient(base_url=server.site) as http:
        assert (await http.get("/api/v1/server_settings")).status_code == 200
    server.__exit__(None, None, None)


def test_frozen_clock() -> None:
    """Timers of the server go on, and it stops."""
    start = time.clock_gettime(time.CLOCK_MONOTONIC)
    with freeze_time("2026-01-02 03:04:05"), FakeZulip({"iago@zulip.com": "x"}) as server:
        server.password_check_time = 0.01
        form = {"username": "iago@zulip.com", "password": "x"}
        response = httpx.post(f"{server.site}/api/v1/fetch_api_key", data=form)
        reset = int(response.headers["x-ratelimit-reset"])
        date = parsedate_to_datetime(response.headers["date"])
        server.stop()
        server.start()
    assert time.clock_gettime(time.CLOCK_MONOTONIC) - start < 10
    # The server's clock is the frozen one.
    assert date.isoformat() == "2026-01-02T03:04:05+00:00"
    assert reset == date.timestamp() + 1800


async def test_wait_for_with_frozen_clock() -> None:
    async def request(site: str) -> None:
        await asyncio.to_thread(httpx.get, f"{site}/api/v1/server_settings")

    async with FakeZulip() as server:
        with freeze_time("2026-01-02", real_asyncio=False):
            task = asyncio.create_task(request(server.site))
            [received] = await server.wait_for("GET", "/api/v1/server_settings")
            assert received.method == "GET"
            with pytest.raises(TimeoutError):
                await server.wait_for("GET", "/", timeout=0.01)
        await task


@pytest.mark.parametrize("stop_after", range(4))
@pytest.mark.parametrize("connect_after", range(4))
def test_connection_at_stop_is_closed(
    connect_after: int, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # a slow tick
    with socket.socket() as client:
        client.settimeout(5)
        with FakeZulip() as server:
            thread = server._thread
            assert thread is not None
            address = ("127.0.0.1", httpx.URL(server.site).port)

            def call_after(iterations: int, callback: Callable[[], object]) -> None:
                if iterations:
                    thread._loop.call_soon(call_after, iterations - 1, callback)
                else:
                    callback()

            def start() -> None:
                # This fails if the server listens no more.
                call_after(connect_after, lambda: client.connect_ex(address))
                call_after(stop_after, thread._server.stopping.set)

            thread._loop.call_soon_threadsafe(start)
            thread.join()
        with contextlib.suppress(OSError):
            assert client.recv(1) == b""
    gc.collect()  # a ResourceWarning fails the test
