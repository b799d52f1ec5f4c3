from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from helpers.constants import PASSWORD, USERNAME
from helpers.raw_server import (
    KEPT_ALIVE,
    ScriptedServer,
    close_without_response,
    never_respond,
    serve_keepalive,
)
from helpers.raw_server import Connection as WireConnection
from zulip_auth import AuthClient, Credentials, RetryPolicy, ServerError
from zulip_auth._http import pool


async def test_connections_are_kept_inside_async_with() -> None:
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


async def test_logins_at_once_have_a_connection_each_and_share_them_later() -> None:
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        for _ in range(3):
            await asyncio.gather(*(client.login(USERNAME, PASSWORD) for _ in range(10)))
        assert server.connections == 10


async def test_a_connection_on_which_a_login_was_cancelled_is_not_used_again() -> None:
    async with (
        ScriptedServer(never_respond, serve_keepalive) as server,
        AuthClient(server.site) as client,
    ):
        waiting = asyncio.create_task(client.login(USERNAME, PASSWORD))
        await server.request_received.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await client.login(USERNAME, PASSWORD)
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2


async def test_a_connection_that_was_lost_is_replaced(no_backoff: RetryPolicy) -> None:
    async with (
        ScriptedServer(close_without_response, serve_keepalive) as server,
        AuthClient(server.site, retry=no_backoff) as client,
    ):
        await client.login(USERNAME, PASSWORD)
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2


async def test_a_login_that_outlasts_async_with_closes_what_it_used() -> None:
    gone = asyncio.Event()

    async def answer_late(connection: WireConnection) -> None:
        await connection.read()
        await left.wait()
        await connection.write(KEPT_ALIVE)
        await connection.wait_closed()
        gone.set()

    left = asyncio.Event()
    async with ScriptedServer(answer_late) as server:
        async with AuthClient(server.site) as client:
            login = asyncio.create_task(client.login(USERNAME, PASSWORD))
            await server.request_received.wait()
        left.set()
        assert (await login).email == USERNAME
        await asyncio.wait_for(gone.wait(), 1)


async def test_entering_twice_keeps_until_both_have_ended() -> None:
    async with ScriptedServer(serve_keepalive) as server:
        client = AuthClient(server.site)
        async with client:
            async with client:
                await client.login(USERNAME, PASSWORD)
            await client.login(USERNAME, PASSWORD)
            assert server.connections == 1
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2


async def test_two_threads_may_keep_connections_each_in_its_own_loop() -> None:
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


def test_a_loop_that_died_inside_async_with_does_not_spoil_the_next() -> None:
    client = AuthClient("localhost:1")
    asyncio.run(client.__aenter__())

    async def enter_and_leave() -> None:
        async with client:
            pass

    asyncio.run(enter_and_leave())


async def test_one_connection_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    closed = []

    class RetryingTransport(httpx.AsyncBaseTransport):
        async def aclose(self) -> None:
            closed.append(self)
            raise RuntimeError

    client = AuthClient("localhost:1")
    async with client:
        [kept] = client._connections._kept.values()
        kept.idle += [RetryingTransport(), RetryingTransport()]
    assert len(closed) == 2


async def test_a_login_does_not_fail_for_a_connection_that_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class RetryingTransport(httpx.AsyncHTTPTransport):
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError

    monkeypatch.setattr(pool, "create_transport", lambda *_arguments: RetryingTransport())
    async with ScriptedServer(serve_keepalive) as server:
        assert (await AuthClient(server.site).login(USERNAME, PASSWORD)).email == USERNAME


async def test_leaving_what_was_not_entered_does_no_harm() -> None:
    await AuthClient("localhost:1").__aexit__(None, None, None)


async def test_another_event_loop_gets_connections_of_its_own() -> None:
    found: list[Credentials] = []
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        await client.login(USERNAME, PASSWORD)

        def elsewhere() -> None:
            found.append(asyncio.run(client.login(USERNAME, PASSWORD)))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2
    assert found[0].email == USERNAME


async def test_an_error_answer_leaves_the_connection_usable(no_backoff: RetryPolicy) -> None:
    async def fail_then_serve(connection: WireConnection) -> None:
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
