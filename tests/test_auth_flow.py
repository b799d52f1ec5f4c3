"""Test the promises that httpx_auth, httpx2_auth and aiohttp_auth share."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import yarl
from attrs import frozen

import zulip_auth
from helpers.constants import PASSWORD, SUCCESS, USERNAME
from helpers.errors import error_message, error_of
from helpers.raw_server import Connection, ScriptedServer, raw_response, respond
from helpers.recordings import LEVELS, load_recordings
from helpers.requests import logins, paths
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    ApiKeySource,
    AuthClient,
    _auth_flow,
    aiohttp_auth,
    httpx2_auth,
    httpx_auth,
)
from zulip_auth.aiohttp_auth import ApiKeyMiddleware
from zulip_auth.testing import FakeZulip

ME = "/api/v1/users/me"
CHALLENGE = {"www-authenticate": 'Basic realm="zulip"'}


# ---- One client interface for the three libraries


@frozen
class Response:
    """The result of a request: a library's own response object, and its body."""

    status: int
    content: bytes
    url: str
    native: Any

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """A client of httpx or httpx2, and the base class of others.

    Attributes:
        http: The client of the library.
    """

    def __init__(self, http: Any, **options: Any) -> None:
        self.http = http
        self._options = options

    async def get(self, url: str) -> Response:
        return await self.request("GET", url)

    async def request(self, method: str, url: str, **kwargs: Any) -> Response:
        if "files" in kwargs:
            kwargs["files"] = {"file": io.BytesIO(kwargs["files"])}
        async with self.http.stream(method, url, **kwargs) as response:
            content = b"".join([chunk async for chunk in response.aiter_raw()])
        return Response(response.status_code, content, str(response.url), response)


class AiohttpClient(Client):
    async def request(self, method: str, url: str, **kwargs: Any) -> Response:
        if "content" in kwargs:
            kwargs["data"] = kwargs.pop("content")
        if "files" in kwargs:
            kwargs["data"] = {"file": io.BytesIO(kwargs.pop("files"))}
        async with self.http.request(method, url, **self._options, **kwargs) as response:
            return Response(response.status, await response.read(), str(response.url), response)


ClientFactory = Callable[..., AbstractAsyncContextManager[Any]]
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading them takes 20 ms


@asynccontextmanager
async def httpx_client(
    source: ApiKeySource, *, redirects: bool = False, module: Any = httpx, auth: Any = httpx_auth
) -> AsyncIterator[Client]:
    async with module.AsyncClient(
        auth=auth.ApiKeyAuth(source),
        base_url=source.site,
        follow_redirects=redirects,
        verify=NO_CERTIFICATES,
    ) as http:
        yield Client(http)


@asynccontextmanager
async def aiohttp_client(source: ApiKeySource, *, redirects: bool = False) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(
        source.site, middlewares=[ApiKeyMiddleware(source)], auto_decompress=False
    ) as http:
        yield AiohttpClient(http, allow_redirects=redirects)


LIBRARIES: dict[str, ClientFactory] = {
    "httpx": httpx_client,
    "httpx2": partial(httpx_client, module=httpx2, auth=httpx2_auth),
    "aiohttp": aiohttp_client,
}


@pytest.fixture(params=LIBRARIES)
def create_client(request: pytest.FixtureRequest) -> ClientFactory:
    return LIBRARIES[request.param]


def create_source(server: FakeZulip | ScriptedServer) -> ApiKeySource:
    return ApiKeySource(AuthClient(server.site), USERNAME, PASSWORD)


@pytest.fixture
async def http(server: FakeZulip, create_client: ClientFactory) -> AsyncIterator[Client]:
    async with create_client(create_source(server)) as http:
        yield http


# ---- The key and its renewal


async def test_requests_are_authenticated(server: FakeZulip, http: Client) -> None:
    for _ in range(3):
        assert (await http.get(ME)).json()["delivery_email"] == USERNAME
    assert paths(server) == ["/fetch_api_key", "/users/me", "/users/me", "/users/me"]
    sent = base64.b64decode(server.requests[-1].headers["authorization"].removeprefix("Basic "))
    assert sent.decode() == f"{USERNAME}:{server.account(USERNAME).api_key}"


async def test_credentials_in_place_of_a_source(
    server: FakeZulip, create_client: ClientFactory
) -> None:
    credentials = await create_source(server).get()
    async with create_client(credentials) as http:
        assert (await http.get(ME)).json()["delivery_email"] == USERNAME
        server.account(USERNAME).regenerate_api_key()
        assert (await http.get(ME)).status == 401  # there is no other key


async def test_revoked_key_under_load(server: FakeZulip, http: Client) -> None:
    async with ScriptedServer(respond(200, b"")) as other:
        await http.get(ME)
        server.account(USERNAME).regenerate_api_key()
        own = [http.get(ME) for _ in range(20)]
        foreign = [http.get(f"{other.site}/x") for _ in range(5)]
        responses = await asyncio.gather(*own, *foreign)
        assert {response.status for response in responses} == {200}
        assert logins(server) == 2  # the first key, and one renewal
        assert len(other.requests) == 5
        assert all("authorization" not in request.headers for request in other.requests)


async def test_rotations_under_load(
    server: FakeZulip, create_client: ClientFactory, path: Path
) -> None:
    """Requests that start before, with and after a rotation all succeed."""
    (await create_source(server).get()).save(path)
    source = ApiKeySource.from_zuliprc(path)
    async with create_client(source) as http:
        for _ in range(5):
            early = [asyncio.create_task(http.get(ME)) for _ in range(10)]
            await asyncio.sleep(0)
            rotating = asyncio.create_task(source.rotate())
            late = [asyncio.create_task(http.get(ME)) for _ in range(10)]
            responses = await asyncio.gather(*early, *late)
            assert {response.status for response in responses} == {200}
            assert (await rotating).api_key == server.account(USERNAME).api_key
    assert logins(server) == 1


async def test_errors_of_source_are_raised(server: FakeZulip, http: Client) -> None:
    await http.get(ME)
    server.account(USERNAME).active = False
    server.account(USERNAME).password = "new"
    for _ in range(3):
        key = server.account(USERNAME).api_key
        await error_of(zulip_auth.UserDeactivatedError, http.get(ME), key)
    assert logins(server) == 2


@pytest.mark.parametrize(
    "body",
    [{"data": {"a": "b"}}, {"json": {"a": "b"}}, {"content": b"ab"}, {}],
    ids=["form", "JSON", "bytes", "none"],
)
async def test_bytes_are_resent(server: FakeZulip, http: Client, body: dict[str, Any]) -> None:
    await http.get(ME)
    server.account(USERNAME).regenerate_api_key()
    assert (await http.request("POST", "/api/v1/register", **body)).status == 200
    assert paths(server)[2:] == ["/register", "/fetch_api_key", "/register"]
    assert server.requests[-1].form == server.requests[-3].form


async def chunks() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


@pytest.mark.parametrize(
    "body", [lambda: {"content": chunks()}, lambda: {"files": b"ab"}], ids=["stream", "file"]
)
async def test_stream_is_not_resent(server: FakeZulip, http: Client, body: Any) -> None:
    await http.get(ME)
    server.account(USERNAME).regenerate_api_key()
    rejected = await http.request("POST", "/api/v1/register", **body())
    assert rejected.status == 401
    assert rejected.json()["code"] == "UNAUTHORIZED"
    assert (await http.request("POST", "/api/v1/register", **body())).status == 200
    assert paths(server)[2:] == ["/register", "/fetch_api_key", "/register"]


@pytest.mark.parametrize("create_client", ["httpx", "httpx2"], indirect=True)
async def test_hook_that_raises_prevents_a_renewal(server: FakeZulip, http: Client) -> None:
    """The clients call it before ApiKeyAuth gets the response, so it has to ignore a 401."""

    async def raise_on_errors(response: Any) -> None:
        if is_strict or response.status_code != 401:
            response.raise_for_status()

    await http.get(ME)
    http.http.event_hooks = {"response": [raise_on_errors]}
    for is_strict in (True, False):
        server.account(USERNAME).regenerate_api_key()
        if is_strict:
            with pytest.raises((httpx.HTTPStatusError, httpx2.HTTPStatusError), match="401"):
                await http.get(ME)
        else:
            assert (await http.get(ME)).status == 200
    with pytest.raises((httpx.HTTPStatusError, httpx2.HTTPStatusError), match="404"):
        await http.get("/nothing")


async def test_raise_for_status_of_a_session(server: FakeZulip) -> None:
    """aiohttp raises after its middlewares."""
    async with aiohttp_client(create_source(server)) as http:
        await http.get(ME)
        server.account(USERNAME).regenerate_api_key()
        response = await http.request("GET", ME, raise_for_status=True)
        assert response.status == 200


# ---- Other responses and servers


REJECTION = '{"result": "error", "msg": "", "code": "UNAUTHORIZED"}'
REJECTED = raw_response(401, REJECTION, CHALLENGE)
LOGGED_IN = raw_response(200, json.dumps(SUCCESS))


@asynccontextmanager
async def scripted_site(
    create_client: ClientFactory, *responses: bytes, redirects: bool = False
) -> AsyncIterator[tuple[ScriptedServer, Client]]:
    """Run a server that lets everyone log in, and otherwise sends the responses in order."""
    pending = list(responses)

    async def scenario(connection: Connection) -> None:
        await connection.read()
        is_login = server.requests[-1].line.startswith("POST /api/v1/fetch_api_key")
        await connection.write(LOGGED_IN if is_login else pending.pop(0))

    async with (
        ScriptedServer(scenario) as server,
        create_client(create_source(server), redirects=redirects) as http,
    ):
        yield server, http


async def test_key_rejected_again_is_not_renewed(create_client: ClientFactory) -> None:
    async with scripted_site(create_client, *[REJECTED] * 4) as (server, http):
        assert (await http.get("/x")).status == 401
        assert paths(server) == ["/fetch_api_key", "/x", "/fetch_api_key"]
        for _ in range(3):  # the login returned the same key, and would again
            assert (await http.get("/x")).status == 401
        assert logins(server) == 2


async def test_renewed_key_rejected_is_not_renewed(
    server: FakeZulip, http: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await http.get(ME)
    account = server.account(USERNAME)
    # The organization issues new keys, but rejects all of them.
    monkeypatch.setattr(
        "zulip_auth.testing.state.State.find_key", lambda *_: account.regenerate_api_key()
    )
    assert (await http.get(ME)).status == 401
    assert paths(server)[2:] == ["/users/me", "/fetch_api_key", "/users/me"]


async def test_recorded_401_is_renewed(create_client: ClientFactory) -> None:
    recordings = [
        [exchange for exchange in load_recordings("me:", level=level) if exchange.status == 401]
        for level in LEVELS
    ]
    assert all(len(exchanges) >= 4 for exchanges in recordings)
    distinct = {
        frozenset((n, v) for n, v in exchange.headers.items() if n != "content-length"): exchange
        for exchanges in recordings
        for exchange in exchanges
    }
    for exchange in distinct.values():
        response = raw_response(401, exchange.body, dict(exchange.headers))
        async with scripted_site(create_client, response) as (server, http):
            assert (await http.get("/x")).content.decode() == exchange.body
            assert logins(server) == 2


OTHER_401 = {
    "no challenge": ({}, REJECTION, 1),
    "nginx": ({"www-authenticate": 'Basic realm="nginx"'}, REJECTION, 1),
    "bearer": ({"www-authenticate": "Bearer"}, REJECTION, 1),
    "not gzip": ({"content-encoding": "gzip", **CHALLENGE}, "not encoded", 2),
    "not br": ({"content-encoding": "br", **CHALLENGE}, "not encoded", 2),
}


@pytest.mark.parametrize("name", OTHER_401)
async def test_challenge_decides(name: str, create_client: ClientFactory) -> None:
    """The body is not read."""
    headers, body, count = OTHER_401[name]
    async with scripted_site(create_client, raw_response(401, body, headers)) as (server, http):
        response = await http.get("/x")
        assert (response.status, response.content.decode()) == (401, body)
        assert logins(server) == count


async def test_other_origin_gets_no_key(server: FakeZulip, http: Client) -> None:
    async with ScriptedServer(respond(401, REJECTION, CHALLENGE)) as other:
        # Another port, another host; its 401 causes no login.
        for site in (other.site, other.site.replace("127.0.0.1", "localhost")):
            assert (await http.get(f"{site}/x")).status == 401
        assert paths(server) == []
        assert all("authorization" not in request.headers for request in other.requests)


async def test_redirect_to_other_origin(create_client: ClientFactory) -> None:
    async with ScriptedServer(respond(401, REJECTION, CHALLENGE)) as other:
        redirect = raw_response(307, "", {"location": f"{other.site}/away"})
        async with scripted_site(create_client, redirect, redirects=True) as (server, http):
            response = await http.request("POST", "/x", data={"a": "b"})
            assert (response.status, response.url) == (401, f"{other.site}/away")
            assert "authorization" in server.requests[-1].headers
            # The other server cannot cause a renewal.
            assert paths(server) == ["/fetch_api_key", "/x"]
        assert len(other.requests) == 1
        assert "authorization" not in other.requests[0].headers


async def test_redirect_within_site(create_client: ClientFactory) -> None:
    redirect = raw_response(302, "", {"location": "/there"})
    async with scripted_site(create_client, redirect, raw_response(200), redirects=True) as (
        server,
        http,
    ):
        assert (await http.get("/x")).status == 200
        assert paths(server)[1:] == ["/x", "/there"]
        assert all("authorization" in request.headers for request in server.requests[1:])


async def test_cancelled_renewal_closes_connection(create_client: ClientFactory) -> None:
    closed = asyncio.Event()

    async def scenario(connection: Connection) -> None:
        await connection.read()
        if logins(server) == len(server.requests) == 1:
            await connection.write(LOGGED_IN)
        elif server.requests[-1].line.startswith("GET"):
            await connection.write(REJECTED.replace(b"connection: close\r\n", b""))
            await connection.wait_closed()
            closed.set()
        else:  # the second login
            renewing.set()
            await connection.wait_closed()

    renewing = asyncio.Event()
    async with ScriptedServer(scenario) as server:
        async with create_client(create_source(server)) as http:
            request = asyncio.create_task(http.get("/x"))
            await renewing.wait()
            request.cancel()
            await error_of(asyncio.CancelledError, request)
        await closed.wait()


# ---- The rest


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_synchronous_client_is_rejected(module: Any) -> None:
    auth_class = httpx_auth.ApiKeyAuth if module is httpx else httpx2_auth.ApiKeyAuth
    source = ApiKeySource(AuthClient("chat.example.com"), USERNAME, PASSWORD)
    with module.Client(auth=auth_class(source)) as http, pytest.raises(TypeError) as caught:
        http.get("https://chat.example.com/")
    assert str(caught.value) == f"ApiKeyAuth requires {module.__name__}.AsyncClient."
    SecretScanner(PASSWORD).check_error(caught.value)


def test_pair_in_place_of_credentials() -> None:
    pair: Any = (USERNAME, PASSWORD)
    message = error_message(lambda: httpx_auth.ApiKeyAuth(pair))
    assert message == "source must be an ApiKeySource or Credentials, not tuple."


async def test_objects_show_no_secret(server: FakeZulip, http: Client) -> None:
    response = (await http.get(ME)).native
    scanner = SecretScanner(PASSWORD, server.account(USERNAME).api_key)
    if isinstance(http, AiohttpClient):
        [middleware] = http.http._middlewares
        scanner.check(f"{middleware!r} {vars(middleware)!r}", "the middleware")
        scanner.check(repr(response.request_info), "the request info")
        error = aiohttp.ClientResponseError(response.request_info, ())
        scanner.check(f"{error} {error!r}", "an error")
    else:
        scanner.check(f"{http.http.auth!r} {vars(http.http.auth)!r}", "the auth")
        scanner.check(repr(response.request.headers), "the request's headers")


ORIGINS = [
    ("https://chat.example.com", "https://CHAT.example.com:443/api"),
    ("https://xn--bcher-kva.example", "https://bücher.example/api"),
    ("http://[::1]:9991", "http://[::1]:9991/api"),
]


@pytest.mark.parametrize(("site", "url"), ORIGINS)
def test_origin_is_normalized(site: str, url: str) -> None:
    for url_class in (httpx.URL, httpx2.URL):
        assert _auth_flow._origin(url_class(url)) == _auth_flow._origin(url_class(site))
    assert aiohttp_auth._origin(yarl.URL(url)) == aiohttp_auth._origin(yarl.URL(site))


@pytest.mark.usefixtures("measured_subprocesses")
@pytest.mark.parametrize(("extra", "package"), [("httpx2", "httpx2"), ("aiohttp", "aiohttp")])
def test_missing_extra(extra: str, package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import zulip_auth.{extra}_auth"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: zulip_auth.{extra}_auth requires an extra: "
        f"pip install 'zulip-auth[{extra}]', in a clone '.[{extra}]'"
    )
