"""The controls of the stand-in server, and its record of requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from helpers.caller import EMPTY_CONTEXT, Organization
from helpers.constants import PASSWORD, USERNAME
from zulip_auth import (
    APIConnectionError,
    AuthClient,
    InvalidResponseError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    login,
)
from zulip_auth.testing import FakeZulip, ReceivedRequest
from zulip_auth.testing import server as server_module
from zulip_auth.testing.state import _replace_locks

FETCH, SETTINGS = "/api/v1/fetch_api_key", "/api/v1/server_settings"
ONCE = RetryPolicy(attempts=1)


def http(server: FakeZulip) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.site, verify=EMPTY_CONTEXT)


async def log_in(server: FakeZulip, password: str = PASSWORD) -> None:
    await AuthClient(server.site, retry=ONCE).login(USERNAME, password)


async def test_requests_are_recorded(server: FakeZulip) -> None:
    await log_in(server)
    async with http(server) as client:
        response = await client.put("/api/v1/unknown?x=1", content=b"raw")
    request, unknown = server.requests
    assert (request.method, request.path) == ("POST", FETCH)
    assert request.form == {"username": USERNAME, "password": PASSWORD}
    assert request.headers["host"] == request.host == urlsplit(server.site).netloc
    for obj in (request, server, server.realm, server.account(USERNAME)):
        assert PASSWORD not in repr(obj)
        assert server.account(USERNAME).api_key not in repr(obj)
    assert (unknown.method, unknown.path) == ("PUT", "/api/v1/unknown")
    assert unknown.status == response.status_code == 404
    assert (unknown.query, unknown.form, unknown.body) == ({"x": "1"}, {}, b"raw")


# ---- Start and stop


def test_restart() -> None:
    server = FakeZulip(users={USERNAME: PASSWORD})
    assert repr(server) == "<FakeZulip not running>"
    for _ in range(2):
        with server:
            assert repr(server) == f"<FakeZulip {server.site}>"
            asyncio.run(log_in(server))
            with pytest.raises(RuntimeError, match="already running"):
                server.start()
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.site
    server.__exit__(None, None, None)


async def test_outage(server: FakeZulip) -> None:
    site = server.site
    port = urlsplit(site).port
    for _ in range(2):
        server.stop()
        assert repr(server) == f"<FakeZulip {site} stopped>"
        assert server.site == site
        with pytest.raises(APIConnectionError) as caught:
            await log_in(server)
        assert not caught.value.sent
        # The port is reserved: no other socket can be bound to it.
        with socket.socket() as sock, pytest.raises(OSError, match="in use"):
            sock.bind(("127.0.0.1", port))
        server.stop()  # a second stop is a no-op
        server.start()
        await log_in(server)
    server.stop()
    server.__exit__(None, None, None)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))


def test_no_delayed_response() -> None:
    """Without TCP_NODELAY, a body arrives 40 ms after its head on a connection in use."""
    with server_module._bind("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP  # or asyncio does not set it


async def test_stop_during_request(server: FakeZulip, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a delayed response nor an idle connection keeps it running."""
    async with http(server) as client:
        await client.get("/")
        server.fail_next(SETTINGS, delay=60)
        request = asyncio.create_task(client.get(SETTINGS))
        await server.wait_for("GET", SETTINGS)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 4
        with pytest.raises(httpx.TransportError):
            await request
    assert caplog.records == []


async def test_cancelled_exit_stops_server() -> None:
    server = FakeZulip()
    server.start()
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
    server = FakeZulip(users={USERNAME: PASSWORD})
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9991") as client:
        body = (await client.get("/api/v1/dev_list_users")).json()
        assert body["direct_users"] == [{"email": USERNAME, "realm_url": "http://127.0.0.1:9991"}]
        server.fail_next("/api/v1/dev_list_users", drop=True)
        with pytest.raises(ConnectionResetError):
            await client.get("/api/v1/dev_list_users")


# ---- fail_next

LIMITED = {"result": "error", "msg": "", "code": "RATE_LIMIT_HIT"}


@pytest.mark.parametrize(
    ("options", "error", "attributes"),
    [
        ({}, ServerError, {"status_code": 500}),
        (
            {"status": 429, "json": LIMITED, "headers": {"Retry-After": "77"}},
            RateLimitedError,
            {"retry_after": 77},
        ),
        ({"json": []}, InvalidResponseError, {"status_code": 200}),
        ({"body": b"\xff"}, InvalidResponseError, {"status_code": 200}),
        ({"drop": True, "delay": 0.01}, APIConnectionError, {"sent": True}),
    ],
)
async def test_fail_next(
    options: dict[str, Any],
    error: type[Exception],
    attributes: dict[str, object],
    server: FakeZulip,
) -> None:
    """The next requests fail, and have no other effect."""
    server.fail_next(FETCH, times=6, **options)
    async with http(server) as other:
        await other.get(SETTINGS)  # its connection stays open
        for _ in range(6):
            with pytest.raises(error) as caught:
                await log_in(server, "a guess")
            assert {name: getattr(caught.value, name) for name in attributes} == attributes
        await other.get(SETTINGS)
    await log_in(server)
    assert [request.status for request in server.requests][-1] == 200


# ---- wait_for


async def test_wait_for(server: FakeZulip) -> None:
    waiting = asyncio.create_task(server.wait_for("POST", FETCH, count=2))
    for _ in range(2):
        assert not waiting.done()
        await log_in(server)
    requests = await waiting
    assert [request.path for request in requests] == [FETCH, FETCH]
    assert await server.wait_for("POST", FETCH) == requests
    mark = server.mark()
    server.add_user("hamlet@zulip.com", PASSWORD)
    await login(server.site, "hamlet@zulip.com", PASSWORD)
    assert server.count("POST", FETCH) == 3
    assert server.count("POST", FETCH, since=mark) == 1

    def is_iago(request: ReceivedRequest) -> bool:
        return request.form["username"] == USERNAME

    assert await server.wait_for("POST", FETCH, match=is_iago) == requests
    with pytest.raises(TimeoutError):
        await server.wait_for("POST", FETCH, match=is_iago, since=mark, timeout=0)
    with pytest.raises(TimeoutError) as caught:
        await server.wait_for("POST", FETCH, count=4, timeout=0.01)
    assert str(caught.value) == f"Received 3 of 4 POST {FETCH} requests in 0.01 s."


# ---- add_route


async def test_add_route(server: FakeZulip) -> None:
    disconnected = threading.Event()

    async def typing(request: Request) -> Response:
        body = {"id": request.path_params["id"], "form": (await request.body()).decode()}
        return JSONResponse(body)

    async def wait(request: Request) -> Response:
        await request.body()
        while not await request.is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        disconnected.set()
        return Response()

    server.add_route("/api/v1/typing/{id:int}", typing, methods=["POST"])
    server.add_route(SETTINGS, lambda _: JSONResponse({"replaced": True}))
    server.add_route("/wait", wait)
    async with http(server) as client:
        response = await client.post("/api/v1/typing/7", data={"op": "start"})
        assert response.json() == {"id": 7, "form": "op=start"}
        assert server.requests[0].form == {"op": "start"}
        assert (await client.get("/api/v1/typing/7")).status_code == 405
        assert (await client.get(SETTINGS)).json() == {"replaced": True}
        waiting = asyncio.create_task(client.get("/wait"))
        await server.wait_for("GET", "/wait")
        waiting.cancel()
    assert await asyncio.to_thread(disconnected.wait, 5)


# ---- Clock and messages


async def test_simultaneous_logins_are_blocked(server: FakeZulip) -> None:
    server.password_check_time = 0.1
    assert server.password_check_time == 0.1
    form = {"username": USERNAME, "password": PASSWORD}
    async with http(server) as client:
        responses = await asyncio.gather(*(client.post(FETCH, data=form) for _ in range(6)))
    assert sorted(response.status_code for response in responses) == [200] * 5 + [429]
    server.password_check_time = 0
    await log_in(server)  # a success has reset the attempts


def test_send_and_messages() -> None:
    server = FakeZulip(users={USERNAME: "x"})
    hamlet = server.add_user("hamlet@zulip.com", "x", full_name="Hamlet")
    assert (hamlet.full_name, server.account(USERNAME).full_name) == ("Hamlet", "Test User")
    server.advance(3600)
    assert server.send(USERNAME, hamlet, "directly") == 1
    assert server.send(hamlet, [USERNAME, hamlet], "to both") == 2
    assert server.send(hamlet, "General", "in a channel", topic="t") == 3
    other = server.add_realm("localhost").add_user("x@zulip.com", "x")
    assert server.send(other, "general", "elsewhere", topic="t") == 4
    assert [(m.type, m.channel, m.topic, m.content) for m in server.messages] == [
        ("private", None, "", "directly"),
        ("private", None, "", "to both"),
        ("stream", "general", "t", "in a channel"),
        ("stream", "general", "t", "elsewhere"),
    ]
    assert server.messages[0].timestamp >= time.time() + 3590
    assert server.messages[0].recipients == [hamlet, server.account(USERNAME)]
    assert server.messages[3].recipients == [other]


def test_send_errors() -> None:
    server = FakeZulip(users={USERNAME: "x"})
    for sender, to, topic in (
        ("x", USERNAME, None),
        (USERNAME, "x", None),
        (USERNAME, "Rome", "t"),
        (USERNAME, [USERNAME], "t"),
    ):
        with pytest.raises(KeyError):
            server.send(sender, to, "hi", topic=topic)
    with pytest.raises(ValueError, match="Message must not be empty"):
        server.send(USERNAME, USERNAME, " ")
    with pytest.raises(ValueError, match="Topic can't be empty!"):
        server.send(USERNAME, "general", "hi", topic="")
    assert server.messages == ()


# ---- Addresses


async def test_host_and_port() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with FakeZulip({USERNAME: PASSWORD}, host="0.0.0.0", port=port) as server:
        assert server.site == f"http://127.0.0.1:{port}"
        await log_in(server)
        second = FakeZulip(port=port)
        with pytest.raises(OSError, match="in use"):
            second.start()
        assert repr(second) == "<FakeZulip not running>"


def test_ipv6() -> None:
    server = FakeZulip(host="::1")
    try:
        server.start()
    except OSError:
        pytest.skip("requires IPv6")
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(server.__exit__, None, None, None)
        assert server.site.startswith("http://[::1]:")
        settings = httpx.get(f"{server.site}{SETTINGS}").json()
        assert settings["realm_url"] == server.site


# ---- Robustness


def test_changes_while_requests_run(org: Organization) -> None:
    """Requests in other threads see organizations, users and messages before or after."""
    server, done, statuses = org.server, threading.Event(), set[int]()

    def call() -> None:
        while True:
            server._state.calls.reset(org.iago.account)
            statuses.add(org.iago.send("GET /users").status_code)
            page = {"anchor": "newest", "num_before": 9}
            statuses.add(org.iago.send("GET /messages", **page).status_code)
            statuses.add(org.iago.send("GET /dev_list_users").status_code)
            if done.is_set():
                return

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        server.add_realm(f"realm{number}.example.com").add_user(f"{number}@zulip.com", "x")
        server.add_user(f"{number}@zulip.com", "x")
        server.send(USERNAME, "general", "hi", topic="t")
    done.set()
    for thread in threads:
        thread.join()
    assert statuses == {200}
    assert [message.id for message in server.messages] == list(range(1, 301))


def test_locks_after_fork() -> None:
    """Replace the locks here, as in a child. The next test has one."""
    server = FakeZulip({USERNAME: "x"})
    lock = server._state.lock
    _replace_locks()
    assert server._state.lock is not lock
    assert server.send(USERNAME, USERNAME, "hi") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_child() -> None:
    with FakeZulip({USERNAME: PASSWORD}) as server:
        read, write = os.pipe()
        held, forked = threading.Event(), threading.Event()

        def hold_lock() -> None:
            with server._state.lock:
                held.set()
                forked.wait()

        threading.Thread(target=hold_lock).start()
        held.wait()
        child = os.fork()
        if not child:
            try:
                signal.alarm(20)
                os.close(write)
                asyncio.run(log_in(server))  # the parent serves it
                server.add_user("x@zulip.com", "x")
                server.send(USERNAME, USERNAME, "hi")
                server.__exit__(None, None, None)
                os.read(read, 1)
                os._exit(0)
            finally:
                os._exit(1)
        forked.set()
        os.close(read)
        assert httpx.get(f"{server.site}{SETTINGS}").status_code == 200
        while not server.count("POST", FETCH):
            time.sleep(0.005)
        # The child has the socket, but does not keep the server reachable.
        server.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{server._state.port}/", timeout=5)
        server.start()
        assert httpx.get(f"{server.site}{SETTINGS}").status_code == 200
        os.close(write)
        assert os.waitpid(child, 0)[1] == 0
