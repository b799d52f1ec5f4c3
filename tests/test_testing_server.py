"""The controls of the stand-in server, and its record of requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
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
from zulip_auth.testing import FakeZulip, ReceivedRequest
from zulip_auth.testing import server as server_module
from zulip_auth.testing.state import _replace_locks

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
        response = await http.put("/api/v1/unknown?x=1", content=b"raw")
        assert response.status_code == 404
        [request] = server.requests
        assert (request.method, request.path) == ("PUT", "/api/v1/unknown")
        assert request.status == 404
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

    sock = server_module._bind("127.0.0.1", 0)
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
        assert [request.status for request in server.requests] == [503, 503, 200]


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


async def test_wait_for_match_since_mark() -> None:
    async with FakeZulip(users={EMAIL: "x", "hamlet@zulip.com": "x"}) as server:
        await login(server.site, EMAIL, "x")
        mark = server.mark()
        await login(server.site, "hamlet@zulip.com", "x")
        await login(server.site, EMAIL, "x")
        assert server.count("POST", FETCH) == 3
        assert server.count("POST", FETCH, since=mark) == 2

        def is_iago(request: ReceivedRequest) -> bool:
            return request.form["username"] == EMAIL

        [request] = await server.wait_for("POST", FETCH, match=is_iago, since=mark)
        assert request is server.requests[2]
        assert len(await server.wait_for("POST", FETCH, match=is_iago)) == 2
        with pytest.raises(TimeoutError):
            await server.wait_for("POST", FETCH, since=server.mark(), timeout=0)


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


# ---- Messages without requests


def test_send_and_messages() -> None:
    server = FakeZulip(users={EMAIL: "x", "hamlet@zulip.com": "x"})
    hamlet = server.account("hamlet@zulip.com")
    assert server.send(EMAIL, hamlet, "directly") == 1
    assert server.send(hamlet, [EMAIL, hamlet], "to both") == 2
    assert server.send(hamlet, "General", "in a channel", topic="t") == 3
    other = server.add_realm("localhost").add_user("x@zulip.com", "x")
    assert server.send(other, "general", "elsewhere", topic="t") == 4
    assert [(m.type, m.channel, m.topic, m.content) for m in server.messages] == [
        ("private", None, "", "directly"),
        ("private", None, "", "to both"),
        ("stream", "general", "t", "in a channel"),
        ("stream", "general", "t", "elsewhere"),
    ]
    assert server.messages[0].recipients == [hamlet, server.account(EMAIL)]
    assert server.messages[3].recipients == [other]


def test_send_errors() -> None:
    server = FakeZulip(users={EMAIL: "x"})
    for sender, to, topic in (("x", EMAIL, None), (EMAIL, "x", None), (EMAIL, "Rome", "t")):
        with pytest.raises(KeyError):
            server.send(sender, to, "hi", topic=topic)
    with pytest.raises(KeyError):
        server.send(EMAIL, [EMAIL], "hi", topic="t")
    with pytest.raises(ValueError, match="Message must not be empty"):
        server.send(EMAIL, EMAIL, " ")
    with pytest.raises(ValueError, match="Topic can't be empty!"):
        server.send(EMAIL, "general", "hi", topic="")
    assert server.messages == ()


def test_full_name() -> None:
    server = FakeZulip()
    assert server.add_user(EMAIL, "x", full_name="Iago").full_name == "Iago"
    assert server.add_user("x@zulip.com", "x").full_name == "Test User"


# ---- Addresses


async def test_host_and_port() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with FakeZulip({EMAIL: "x"}, host="0.0.0.0", port=port) as server:
        assert server.site == f"http://127.0.0.1:{port}"
        await login(server.site, EMAIL, "x")
        second = FakeZulip(port=port)
        with pytest.raises(OSError, match="in use"):
            second.start()
        assert repr(second) == "<FakeZulip not running>"


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("requires IPv6")
    server = FakeZulip(host="::1")
    try:
        server.start()
    except OSError:
        pytest.skip("requires IPv6")
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(server.__exit__, None, None, None)
        assert server.site.startswith("http://[::1]:")
        settings = httpx.get(f"{server.site}/api/v1/server_settings").json()
        assert settings["realm_url"] == server.site


async def test_any_host() -> None:
    for any_host, site in ((True, "http://fake-zulip:9991"), (False, None)):
        server = FakeZulip(any_host=any_host)
        server.add_realm("chat.example.com")
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport) as http:
            url = "http://fake-zulip:9991/api/v1/server_settings"
            assert (await http.get(url)).json().get("realm_url") == site
            url = "https://chat.example.com/api/v1/server_settings"
            assert (await http.get(url)).json()["realm_url"] == "https://chat.example.com"


# ---- Robustness


def test_changes_while_requests_run() -> None:
    """Requests in other threads see organizations, users and messages before or after."""
    with FakeZulip({EMAIL: "x"}) as server:
        iago, done = server.account(EMAIL), threading.Event()
        statuses: set[int] = set()

        def client() -> None:
            with httpx.Client(base_url=f"{server.site}/api/v1") as http:
                while not done.is_set():
                    server._state.calls.reset(iago)
                    auth = (EMAIL, iago.api_key)
                    statuses.add(http.get("/users", auth=auth).status_code)
                    page = {"anchor": "newest", "num_before": "9"}
                    statuses.add(http.get("/messages", auth=auth, params=page).status_code)
                    statuses.add(http.get("/dev_list_users").status_code)

        threads = [threading.Thread(target=client) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(300):
            server.add_realm(f"realm{number}.example.com").add_user(f"{number}@zulip.com", "x")
            server.add_user(f"{number}@zulip.com", "x")
            server.send(EMAIL, "general", "hi", topic="t")
        done.set()
        for thread in threads:
            thread.join()
        assert statuses == {200}
        assert [message.id for message in server.messages] == list(range(1, 301))


def test_locks_after_fork() -> None:
    """Replace the locks here, as in a child. The next test has one."""
    server = FakeZulip({EMAIL: "x"})
    lock = server._state.lock
    _replace_locks()
    assert server._state.lock is not lock
    assert server.send(EMAIL, EMAIL, "hi") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="requires fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_forked_child() -> None:
    with FakeZulip({EMAIL: "x"}) as server:
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
                asyncio.run(login(server.site, EMAIL, "x"))  # the parent serves it
                server.add_user("x@zulip.com", "x")
                server.send(EMAIL, EMAIL, "hi")
                server.__exit__(None, None, None)
                os.read(read, 1)
                os._exit(0)
            finally:
                os._exit(1)
        forked.set()
        os.close(read)
        with httpx.Client(base_url=server.site) as http:
            assert http.get("/api/v1/server_settings").status_code == 200
        while not server.count("POST", FETCH):
            time.sleep(0.005)
        # The child has the socket, but does not keep the server reachable.
        server.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{server._state.port}/", timeout=5)
        server.start()
        assert httpx.get(f"{server.site}/api/v1/server_settings").status_code == 200
        os.close(write)
        assert os.waitpid(child, 0)[1] == 0
