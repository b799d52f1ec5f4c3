"""The controls of the stand-in server, and its record of requests."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from helpers.api_client import APIClient
from zulip_auth import (
    APIConnectionError,
    AuthClient,
    InvalidResponseError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    login,
)
from zulip_auth.testing import FakeZulip
from zulip_auth.testing import server as server_module

EMAIL = "iago@zulip.com"
FETCH = "/api/v1/fetch_api_key"
ONCE = RetryPolicy(attempts=1)


async def test_requests_are_recorded() -> None:
    async with FakeZulip(users={EMAIL: "s3cret"}) as server:
        await login(server.site, EMAIL, "s3cret")
        [request] = server.requests
        assert (request.method, request.path) == ("POST", FETCH)
        assert request.form == {"username": EMAIL, "password": "s3cret"}
        assert request.headers["host"] == request.host == urlsplit(server.site).netloc
        for obj in (request, server, server.realm, server.account(EMAIL)):
            assert "s3cret" not in repr(obj)
            assert server.account(EMAIL).api_key not in repr(obj)


async def test_unknown_path_is_recorded() -> None:
    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        response = await http.put("/api/v1/typing?x=1", content=b"raw")
        assert response.status_code == 404
        [request] = server.requests
        assert (request.method, request.path) == ("PUT", "/api/v1/typing")
        assert (request.query, request.form, request.body) == ({"x": "1"}, {}, b"raw")


def test_restart() -> None:
    server = FakeZulip(users={EMAIL: "secret"})
    assert repr(server) == "<FakeZulip not running>"
    for _ in range(2):
        with server:
            assert repr(server) == f"<FakeZulip {server.site}>"
            asyncio.run(login(server.site, EMAIL, "secret"))
            with pytest.raises(RuntimeError, match="already running"):
                server.__enter__()
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.site
    server.__exit__(None, None, None)


async def test_outage() -> None:
    async with FakeZulip(users={EMAIL: "secret"}) as server:
        site = server.site
        client = AuthClient(site, retry=ONCE)
        await client.login(EMAIL, "secret")
        for _ in range(2):
            server.stop()
            assert repr(server) == f"<FakeZulip {site} stopped>"
            assert server.site == site
            with pytest.raises(APIConnectionError) as caught:
                await client.login(EMAIL, "secret")
            assert not caught.value.sent
            server.stop()  # a second stop is a no-op
            server.start()
            assert server.site == site
            await client.login(EMAIL, "secret")
        with pytest.raises(RuntimeError, match="already running"):
            server.start()


def test_exit_after_stop() -> None:
    with FakeZulip() as server:
        port = urlsplit(server.site).port
        server.stop()
        # The port is reserved: no other socket can be bound to it.
        with socket.socket() as sock, pytest.raises(OSError, match="in use"):
            sock.bind(("127.0.0.1", port))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))


async def test_no_delayed_response() -> None:
    """Without TCP_NODELAY, a body arrives 40 ms after its head on a connection in use."""
    nodelay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        nodelay.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    sock = server_module._bind(0)
    async with await asyncio.start_server(accept, sock=sock):
        _, writer = await asyncio.open_connection(*sock.getsockname())
        assert await nodelay
        writer.close()


async def test_stop_with_idle_connection() -> None:
    server = FakeZulip(users={EMAIL: "secret"})
    server.__enter__()
    async with httpx.AsyncClient(base_url=server.site) as http:
        await http.get("/api/v1/server_settings")
        start = time.monotonic()
        await server.__aexit__(None, None, None)
        assert time.monotonic() - start < 4


async def test_stop_during_request(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeZulip()
    with server:
        server.fail_next("/api/v1/server_settings", delay=60)
        async with httpx.AsyncClient(base_url=server.site) as http:
            request = asyncio.create_task(http.get("/api/v1/server_settings"))
            await server.wait_for("GET", "/api/v1/server_settings")
            start = time.monotonic()
            server.stop()
            assert time.monotonic() - start < 4
            with pytest.raises(httpx.TransportError):
                await request
    assert caplog.records == []


async def test_cancelled_exit_stops_server() -> None:
    server = FakeZulip()
    server.__enter__()
    thread = server._thread
    assert thread is not None
    exiting = asyncio.create_task(server.__aexit__(None, None, None))
    await asyncio.sleep(0)
    exiting.cancel()
    await asyncio.wait([exiting])
    assert not thread.is_alive()
    assert thread._socket.fileno() == -1
    await server.__aexit__(None, None, None)  # a second exit is a no-op


async def test_app_without_socket() -> None:
    server = FakeZulip(users={EMAIL: "secret"})
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9991") as client:
        body = (await client.get("/api/v1/dev_list_users")).json()
        assert body["direct_users"] == [{"email": EMAIL, "realm_url": "http://127.0.0.1:9991"}]
        server.fail_next("/api/v1/dev_list_users", drop=True)
        with pytest.raises(ConnectionResetError):
            await client.get("/api/v1/dev_list_users")


# ---- fail_next


async def test_fail_next_with_status() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        server.fail_next(FETCH, times=2, status=503)
        client = AuthClient(server.site, retry=ONCE)
        for _ in range(2):
            with pytest.raises(ServerError) as caught:
                await client.login(EMAIL, "x")
            assert caught.value.status_code == 503
        await client.login(EMAIL, "x")
        assert len(server.requests) == 3


async def test_fail_next_by_default() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        server.fail_next(FETCH)
        with pytest.raises(ServerError) as caught:
            await AuthClient(server.site, retry=ONCE).login(EMAIL, "x")
        assert caught.value.status_code == 500


async def test_fail_next_with_json_and_headers() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        body = {"result": "error", "msg": "", "code": "RATE_LIMIT_HIT"}
        server.fail_next(FETCH, status=429, json=body, headers={"Retry-After": "77"})
        with pytest.raises(RateLimitedError) as caught:
            await login(server.site, EMAIL, "x")
        assert caught.value.retry_after == 77


@pytest.mark.parametrize("options", [{"json": []}, {"body": "<html>"}, {"body": b"\xff"}])
async def test_fail_next_with_body(options: dict[str, object]) -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        server.fail_next(FETCH, **options)  # type: ignore[arg-type]
        with pytest.raises(InvalidResponseError) as caught:
            await login(server.site, EMAIL, "x")
        assert caught.value.status_code == 200


async def test_fail_next_with_drop() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        server.fail_next(FETCH, drop=True, delay=0.01)
        async with httpx.AsyncClient(base_url=server.site) as other:
            await other.get("/api/v1/server_settings")  # its connection stays open
            with pytest.raises(APIConnectionError) as caught:
                await AuthClient(server.site, retry=ONCE).login(EMAIL, "x")
            assert caught.value.sent
            await other.get("/api/v1/server_settings")
        await login(server.site, EMAIL, "x")


async def test_fail_next_with_delay() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        server.fail_next(FETCH, delay=0.05)
        start = time.monotonic()
        await login(server.site, EMAIL, "x")
        assert time.monotonic() - start >= 0.05


async def test_fail_next_has_no_other_effect() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        for _ in range(6):
            server.fail_next(FETCH, status=502)
            with pytest.raises(ServerError):
                await AuthClient(server.site, retry=ONCE).login(EMAIL, "a guess")
        await login(server.site, EMAIL, "x")


# ---- wait_for


async def test_wait_for() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        waiting = asyncio.create_task(server.wait_for("POST", FETCH, count=2))
        for _ in range(2):
            assert not waiting.done()
            await login(server.site, EMAIL, "x")
        requests = await waiting
        assert [request.path for request in requests] == [FETCH, FETCH]
        assert await server.wait_for("POST", FETCH) == requests


async def test_wait_for_timeout() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        await login(server.site, EMAIL, "x")
        with pytest.raises(TimeoutError) as caught:
            await server.wait_for("POST", FETCH, count=2, timeout=0.01)
        assert str(caught.value) == f"Received 1 of 2 POST {FETCH} requests in 0.01 s."
        with pytest.raises(TimeoutError):
            await server.wait_for("GET", FETCH, timeout=0)


# ---- add_route


async def test_add_route() -> None:
    async def typing(request: Request) -> Response:
        body = {"id": request.path_params["id"], "form": (await request.body()).decode()}
        return JSONResponse(body)

    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        server.add_route("/api/v1/typing/{id:int}", typing, methods=["POST"])
        response = await http.post("/api/v1/typing/7", data={"op": "start"})
        assert response.json() == {"id": 7, "form": "op=start"}
        assert server.requests[0].form == {"op": "start"}
        assert (await http.get("/api/v1/typing/7")).status_code == 405
        server.add_route("/api/v1/server_settings", lambda _: JSONResponse({"replaced": True}))
        assert (await http.get("/api/v1/server_settings")).json() == {"replaced": True}


async def test_add_route_reads_until_disconnect() -> None:
    disconnected = threading.Event()

    async def wait(request: Request) -> Response:
        await request.body()
        while not await request.is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        disconnected.set()
        return Response()

    async with FakeZulip() as server:
        server.add_route("/wait", wait)
        async with httpx.AsyncClient(base_url=server.site) as http:
            waiting = asyncio.create_task(http.get("/wait"))
            await server.wait_for("GET", "/wait")
            waiting.cancel()
        assert await asyncio.to_thread(disconnected.wait, 5)


# ---- Limits


async def test_simultaneous_logins_are_blocked() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        server.password_check_time = 0.1
        assert server.password_check_time == 0.1
        form = {"username": EMAIL, "password": "x"}
        async with httpx.AsyncClient(base_url=server.site) as http:
            responses = await asyncio.gather(*(http.post(FETCH, data=form) for _ in range(6)))
        codes = sorted(response.status_code for response in responses)
        assert codes == [200] * 5 + [429]
        server.password_check_time = 0
        await login(server.site, EMAIL, "x")  # a success has reset the attempts


async def test_advance() -> None:
    async with FakeZulip(users={EMAIL: "x"}) as server:
        client = APIClient(server, EMAIL)
        server.advance(3600)
        await client.call("POST", "/messages", type="direct", to=EMAIL, content="hi")
        assert server._state.messages[1].timestamp >= time.time() + 3590
