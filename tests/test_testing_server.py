"""The stand-in server's life cycle and its record of requests."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import httpx
import pytest

from zulip_auth import AuthClient, login
from zulip_auth.testing import FakeZulip


async def test_requests_are_recorded() -> None:
    async with FakeZulip(users={"iago@zulip.com": "s3cret"}) as server:
        await login(server.site, "iago@zulip.com", "s3cret")
        [request] = server.requests
        assert (request.method, request.path) == ("POST", "/api/v1/fetch_api_key")
        assert request.form == {"username": "iago@zulip.com", "password": "s3cret"}
        assert request.headers["host"] == request.host == urlsplit(server.site).netloc
        for obj in (request, server, server.realm, server.account("iago@zulip.com")):
            assert "s3cret" not in repr(obj)
            assert server.account("iago@zulip.com").api_key not in repr(obj)


def test_restart() -> None:
    server = FakeZulip(users={"iago@zulip.com": "secret"})
    assert repr(server) == "<FakeZulip not running>"
    for _ in range(2):
        with server:
            assert repr(server) == f"<FakeZulip {server.site}>"
            asyncio.run(login(server.site, "iago@zulip.com", "secret"))
            with pytest.raises(RuntimeError, match="already running"):
                server.__enter__()
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.site
    server.__exit__(None, None, None)


async def test_stop_with_idle_connection() -> None:
    server = FakeZulip(users={"iago@zulip.com": "secret"})
    server.__enter__()
    async with AuthClient(server.site) as client:
        await client.login("iago@zulip.com", "secret")
        start = time.monotonic()
        await server.__aexit__(None, None, None)
        assert time.monotonic() - start < 1


async def test_cancelled_exit_stops_server() -> None:
    server = FakeZulip()
    server.__enter__()
    thread = server._thread
    assert thread is not None
    exiting = asyncio.create_task(server.__aexit__(None, None, None))
    await asyncio.sleep(0)
    exiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exiting
    thread.join()
    assert thread._socket.fileno() == -1
    await server.__aexit__(None, None, None)  # a second exit is a no-op


async def test_app_without_socket() -> None:
    server = FakeZulip(users={"iago@zulip.com": "secret"})
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9991") as client:
        body = (await client.get("/api/v1/dev_list_users")).json()
    assert body["direct_users"] == [
        {"email": "iago@zulip.com", "realm_url": "http://127.0.0.1:9991"}
    ]
