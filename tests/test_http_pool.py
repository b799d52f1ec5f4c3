from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from helpers.constants import PASSWORD, USERNAME
from helpers.raw_server import (
    KEEPALIVE_SUCCESS,
    Connection,
    ScriptedServer,
    close_without_response,
    never_respond,
    serve_keepalive,
)
from zulip_auth import AuthClient, Credentials, RetryPolicy, ServerError
from zulip_auth._http import pool


async def test_context_manager_reuses_connection() -> None:
    async with ScriptedServer(serve_keepalive) as server:
        async with AuthClient(server.site) as client:
            for _ in range(5):
                await client.login(USERNAME, PASSWORD)
            assert server.connections == 1
        await client.login(USERNAME, PASSWORD)
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 3
        async with client:
            await client.login(USERNAME, PASSWORD)
            await client.login(USERNAME, PASSWORD)
        assert server.connections == 4


async def test_concurrent_logins_reuse_connections() -> None:
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        for _ in range(3):
            await asyncio.gather(*(client.login(USERNAME, PASSWORD) for _ in range(10)))
        assert server.connections == 10


async def test_cancelled_connection_is_not_reused() -> None:
    async with (
        ScriptedServer(never_respond, serve_keepalive) as server,
        AuthClient(server.site) as client,
    ):
        task = asyncio.create_task(client.login(USERNAME, PASSWORD))
        await server.request_received.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.login(USERNAME, PASSWORD)
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2


async def test_lost_connection_is_replaced(no_backoff: RetryPolicy) -> None:
    async with (
        ScriptedServer(close_without_response, serve_keepalive) as server,
        AuthClient(server.site, retry=no_backoff) as client,
    ):
        await client.login(USERNAME, PASSWORD)
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2


async def test_login_after_exit_closes_connection() -> None:
    closed = asyncio.Event()

    async def respond_after_exit(connection: Connection) -> None:
        await connection.read()
        await exited.wait()
        await connection.write(KEEPALIVE_SUCCESS)
        await connection.wait_closed()
        closed.set()

    exited = asyncio.Event()
    async with ScriptedServer(respond_after_exit) as server:
        async with AuthClient(server.site) as client:
            login = asyncio.create_task(client.login(USERNAME, PASSWORD))
            await server.request_received.wait()
        exited.set()
        assert (await login).email == USERNAME
        await asyncio.wait_for(closed.wait(), 1)


async def test_nested_context_managers() -> None:
    async with ScriptedServer(serve_keepalive) as server:
        client = AuthClient(server.site)
        async with client:
            async with client:
                await client.login(USERNAME, PASSWORD)
            await client.login(USERNAME, PASSWORD)
            assert server.connections == 1
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2


async def test_connections_per_event_loop() -> None:
    entered, ended = threading.Event(), threading.Event()

    async def enter_and_leave() -> None:
        async with client:
            await client.login(USERNAME, PASSWORD)
            entered.set()
            await asyncio.to_thread(ended.wait)
            await client.login(USERNAME, PASSWORD)

    async with ScriptedServer(serve_keepalive) as server:
        client = AuthClient(server.site)
        async with client:
            await client.login(USERNAME, PASSWORD)
            thread = threading.Thread(target=lambda: asyncio.run(enter_and_leave()))
            thread.start()
            await asyncio.to_thread(entered.wait)
        ended.set()
        await asyncio.to_thread(thread.join)
        assert server.connections == 2


def test_loop_closed_inside_context_manager() -> None:
    client = AuthClient("localhost:1")
    asyncio.run(client.__aenter__())

    async def enter_and_leave() -> None:
        async with client:
            pass

    asyncio.run(enter_and_leave())


async def test_close_error_does_not_stop_closing() -> None:
    closed = []

    class FailingCloseTransport(httpx.AsyncBaseTransport):
        async def aclose(self) -> None:
            closed.append(self)
            raise RuntimeError

    client = AuthClient("localhost:1")
    async with client:
        [kept] = client._pool._idle.values()
        kept.transports += [FailingCloseTransport(), FailingCloseTransport()]
    assert len(closed) == 2


async def test_login_ignores_close_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FailingCloseTransport(httpx.AsyncHTTPTransport):
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError

    monkeypatch.setattr(pool, "create_transport", lambda *_args: FailingCloseTransport())
    async with ScriptedServer(serve_keepalive) as server:
        assert (await AuthClient(server.site).login(USERNAME, PASSWORD)).email == USERNAME


async def test_exit_without_enter() -> None:
    await AuthClient("localhost:1").__aexit__(None, None, None)


async def test_other_loop_opens_its_own_connection() -> None:
    results: list[Credentials] = []
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        await client.login(USERNAME, PASSWORD)

        def login_in_thread() -> None:
            results.append(asyncio.run(client.login(USERNAME, PASSWORD)))

        thread = threading.Thread(target=login_in_thread)
        thread.start()
        await asyncio.to_thread(thread.join)
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2
    assert results[0].email == USERNAME


async def test_error_response_keeps_connection(no_backoff: RetryPolicy) -> None:
    async def fail_then_serve(connection: Connection) -> None:
        for _ in range(2):
            await connection.read()
            await connection.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nBusy")
        await serve_keepalive(connection)

    async with (
        ScriptedServer(fail_then_serve) as server,
        AuthClient(server.site, retry=no_backoff) as client,
    ):
        with pytest.raises(ServerError):
            await client.login(USERNAME, PASSWORD)
        await client.login(USERNAME, PASSWORD)
        assert (server.connections, len(server.requests)) == (1, 3)
