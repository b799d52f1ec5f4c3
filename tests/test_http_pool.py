from __future__ import annotations

import asyncio
import json
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
import trustme

from helpers.constants import PASSWORD, SUCCESS, USERNAME
from helpers.raw_server import (
    KEEPALIVE_SUCCESS,
    Connection,
    Scenario,
    ScriptedServer,
    close_without_response,
    never_respond,
    serve_keepalive,
    wait_until,
)
from helpers.tls import client_context, server_context
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
            await asyncio.gather(
                *(client.login(f"{number}@zulip.com", PASSWORD) for number in range(10))
            )
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
        kept.push(FailingCloseTransport())
        kept.push(FailingCloseTransport())
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


# ---- Bytes after the end of a response


def success_for(email: str) -> bytes:
    body = json.dumps({**SUCCESS, "email": email, "api_key": "k3y"})
    return KEEPALIVE_SUCCESS.partition(b"content-length")[0] + (
        f"content-length: {len(body)}\r\n\r\n{body}".encode()
    )


def serve_with_trailing_data(trailing: bytes, *, separately: bool = False) -> Scenario:
    """Respond with the email of the request, and more bytes after the response.

    Args:
        trailing: The bytes; empty for the same response once more.
        separately: Whether they are a TLS record of their own.
    """

    async def scenario(connection: Connection) -> None:
        while True:
            form = parse_qs((await connection.read()).decode())
            response = success_for(form["username"][0])
            trailing_data = trailing or response
            data = (response, trailing_data) if separately else (response + trailing_data,)
            await connection.write(*data)

    return scenario


@pytest.mark.parametrize("trailing", [b"", b"\r\n", b"x", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("separately", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_trailing_data_is_not_the_next_response(
    trailing: bytes, separately: bool, scheme: str, test_ca: trustme.CA
) -> None:
    """A second response in the same write must not become another account's login."""
    tls = server_context(test_ca) if scheme == "https" else None
    scenario = serve_with_trailing_data(trailing, separately=separately)
    async with (
        ScriptedServer(scenario, tls=tls) as server,
        AuthClient(server.site, ssl_context=client_context(test_ca)) as client,
    ):
        for number in range(4):
            email = f"user{number}@zulip.com"
            assert (await client.login(email, PASSWORD)).email == email
        assert server.connections == len(server.requests) == 4


async def test_trailing_data_beyond_one_read() -> None:
    """The event loop may not have read all of it yet."""

    async def respond_twice(connection: Connection) -> None:
        while True:
            form = parse_qs((await connection.read()).decode())
            response = success_for(form["username"][0])
            padded = response.replace(b"\r\n", b"\r\nX-Padding: \r\n", 1)
            padding = bytes(65536 - len(padded)).replace(b"\0", b"x")
            padded = padded.replace(b"X-Padding: ", b"X-Padding: " + padding)
            await connection.write(padded + response)

    async with ScriptedServer(respond_twice) as server, AuthClient(server.site) as client:
        for number in range(3):
            email = f"user{number}@zulip.com"
            assert (await client.login(email, PASSWORD)).email == email
        assert server.connections == len(server.requests) == 3


def split_tls_records(data: bytes) -> list[bytes]:
    records = []
    while data:
        size = 5 + int.from_bytes(data[3:5])
        records.append(data[:size])
        data = data[size:]
    return records


async def test_trailing_data_within_tls_to_a_proxy(
    test_ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second response may wait in the TLS connection to the proxy."""

    async def tunnel(connection: Connection) -> None:
        await connection.read_raw_request()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def upload() -> None:
            while data := await connection._reader.read(65536):
                writer.write(data)

        task = asyncio.create_task(upload())
        try:
            while data := await reader.read(65536):
                await connection.write(*split_tls_records(data))
        finally:
            task.cancel()
            writer.transport.abort()

    ca_file = tmp_path / "ca.pem"
    test_ca.cert_pem.write_to_path(str(ca_file))
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    scenario = serve_with_trailing_data(b"", separately=True)
    async with (
        ScriptedServer(scenario, tls=server_context(test_ca, "chat.example.com")) as server,
        ScriptedServer(tunnel, tls=server_context(test_ca)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy.port}")
        site = "https://chat.example.com"
        async with AuthClient(site, ssl_context=client_context(test_ca)) as client:
            for number in range(3):
                email = f"user{number}@zulip.com"
                assert (await client.login(email, PASSWORD)).email == email
        assert server.connections == len(server.requests) == 3


async def test_trailing_data_after_an_error(no_backoff: RetryPolicy) -> None:
    async def fail_twice(connection: Connection) -> None:
        await connection.read()
        failure = b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nBusy"
        await connection.write(failure + success_for("other@zulip.com"))

    async with ScriptedServer(fail_twice, serve_keepalive) as server:
        credentials = await AuthClient(server.site, retry=no_backoff).login(USERNAME, PASSWORD)
    assert (credentials.email, server.connections) == (USERNAME, 2)


async def test_tls_close_notify_is_noticed(test_ca: trustme.CA) -> None:
    async def serve_once(connection: Connection) -> None:
        await connection.read()
        await connection.write(KEEPALIVE_SUCCESS)

    async with (
        ScriptedServer(serve_once, tls=server_context(test_ca)) as server,
        AuthClient(server.site, ssl_context=client_context(test_ca)) as client,
    ):
        for _ in range(3):
            await client.login(USERNAME, PASSWORD)
        assert server.connections == len(server.requests) == 3


# ---- Idle connections


async def test_regenerate_opens_its_own_connection() -> None:
    """A server may close an idle connection at any moment, which would look like a lost key."""
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        credentials = await client.login(USERNAME, PASSWORD)
        await client.regenerate_api_key(credentials)
        assert (server.connections, len(server.requests)) == (2, 2)


async def test_idle_connections_are_few() -> None:
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        await asyncio.gather(*(client.login(f"{n}@zulip.com", PASSWORD) for n in range(60)))
        assert server.connections == 60
        [idle] = client._pool._idle.values()
        assert len(idle.timers) <= pool.MAX_IDLE_CONNECTIONS


async def test_cancelled_exit_closes_all_connections() -> None:
    async with ScriptedServer(serve_keepalive) as server, AsyncExitStack() as stack:
        client = await stack.enter_async_context(AuthClient(server.site))
        await asyncio.gather(
            *(client.login(f"{number}@zulip.com", PASSWORD) for number in range(5))
        )
        task = asyncio.create_task(stack.aclose())
        await asyncio.sleep(0)  # it closes the first one
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: server.open_connections == 0)


async def test_idle_connections_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_TIMEOUT", 0.02)
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        await asyncio.gather(*(client.login(f"{n}@zulip.com", PASSWORD) for n in range(10)))
        [idle] = client._pool._idle.values()
        await wait_until(lambda: not server.open_connections)
        assert idle.timers == {}
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 11


async def test_reused_connection_does_not_expire() -> None:
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        await client.login(USERNAME, PASSWORD)
        [idle] = client._pool._idle.values()
        [(transport, timer)] = idle.timers.items()
        await client.login(USERNAME, PASSWORD)
        assert timer.cancelled()
        [(reused, new_timer)] = idle.timers.items()
        assert reused is transport
        assert new_timer.when() > timer.when()
        assert server.connections == 1


async def test_idle_connections_expire_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_TIMEOUT", 0.02)
    async with ScriptedServer(serve_keepalive) as server, AuthClient(server.site) as client:
        await client.login(USERNAME, PASSWORD)
        [idle] = client._pool._idle.values()
        [first] = idle.timers
        monkeypatch.setattr(pool, "IDLE_TIMEOUT", 60.0)
        await client.regenerate_api_key(Credentials(server.site, USERNAME, "k3y"))
        await wait_until(lambda: first not in idle.timers)
        [timer] = idle.timers.values()
        assert not timer.cancelled()
