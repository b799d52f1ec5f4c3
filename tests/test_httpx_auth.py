from __future__ import annotations

import asyncio
import base64
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import zulip_auth
from helpers.constants import PASSWORD, USERNAME
from helpers.raw_server import Connection, Scenario, ScriptedServer, raw_response
from helpers.secret_scanner import SecretScanner
from zulip_auth import ApiKeySource, AuthClient
from zulip_auth.httpx_auth import ApiKeyAuth
from zulip_auth.testing import FakeZulip

ME = "/api/v1/users/me"


@pytest.fixture
async def server() -> AsyncIterator[FakeZulip]:
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        yield server


@pytest.fixture
async def http(server: FakeZulip) -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(server) as http:
        yield http


def client_for(server: FakeZulip, **options: Any) -> httpx.AsyncClient:
    source = ApiKeySource(AuthClient(server.site), USERNAME, PASSWORD)
    return httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=server.site, **options)


def paths(server: FakeZulip) -> list[str]:
    return [request.path.removeprefix("/api/v1") for request in server.requests]


async def test_requests_to_the_site_are_authenticated(
    server: FakeZulip, http: httpx.AsyncClient
) -> None:
    for _ in range(3):
        assert (await http.get(ME)).json()["delivery_email"] == USERNAME
    assert paths(server) == ["/fetch_api_key", "/users/me", "/users/me", "/users/me"]
    sent = base64.b64decode(server.requests[-1].headers["authorization"].removeprefix("Basic "))
    assert sent.decode() == f"{USERNAME}:{server.account(USERNAME).api_key}"


async def test_a_key_revoked_under_a_hundred_requests_costs_one_login(server: FakeZulip) -> None:
    async with client_for(server, limits=httpx.Limits(max_connections=None)) as http:
        await http.get(ME)
        server.account(USERNAME).regenerate_api_key()
        answers = await asyncio.gather(*(http.get(ME) for _ in range(100)))
    assert [each.status_code for each in answers] == [200] * 100
    assert paths(server).count("/fetch_api_key") == 2


async def test_what_the_source_raises_comes_out(server: FakeZulip, http: httpx.AsyncClient) -> None:
    await http.get(ME)
    server.account(USERNAME).active = False
    server.account(USERNAME).password = "new"
    for _ in range(3):
        with pytest.raises(zulip_auth.UserDeactivatedError) as caught:
            await http.get(ME)
        SecretScanner(PASSWORD, server.account(USERNAME).api_key).check_error(caught.value)
    assert paths(server).count("/fetch_api_key") == 2


@pytest.mark.parametrize(
    "sent",
    [{"data": {"a": "b"}}, {"json": {"a": "b"}}, {"content": b"ab"}, {}],
    ids=["form", "JSON", "bytes", "nothing"],
)
async def test_a_body_that_httpx_has_is_sent_again(
    server: FakeZulip, http: httpx.AsyncClient, sent: dict[str, Any]
) -> None:
    await http.get(ME)
    server.account(USERNAME).regenerate_api_key()
    assert (await http.post("/api/v1/register", **sent)).status_code == 200
    assert paths(server)[2:] == ["/register", "/fetch_api_key", "/register"]


async def chunks() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


@pytest.mark.parametrize(
    "stream",
    [lambda: {"content": chunks()}, lambda: {"files": {"file": b"ab"}}],
    ids=["stream", "files"],
)
async def test_a_stream_is_not_sent_again_but_the_next_request_has_the_new_key(
    server: FakeZulip, http: httpx.AsyncClient, stream: Any
) -> None:
    await http.get(ME)
    server.account(USERNAME).regenerate_api_key()
    refused = await http.post("/api/v1/register", **stream())
    assert refused.status_code == 401
    assert refused.json()["code"] == "UNAUTHORIZED"
    assert (await http.post("/api/v1/register", **stream())).status_code == 200
    assert paths(server)[2:] == ["/register", "/fetch_api_key", "/register"]


# ---- Who else might answer


def keep_answering(*answers: bytes) -> Scenario:
    """Answer each request on a connection, with the last answer in the end."""

    async def scenario(connection: Connection) -> None:
        for number in range(100):
            await connection.read()
            await connection.write(answers[min(number, len(answers) - 1)])

    return scenario


def kept_alive(status: int, body: str = "", headers: dict[str, str] | None = None) -> bytes:
    return raw_response(status, body, headers).replace(b"connection: close\r\n", b"")


LOGIN = '{"result": "success", "msg": "", "api_key": "k3y", "email": "iago@zulip.com"}'
REVOKED = kept_alive(401, '{"result": "error", "msg": "", "code": "INVALID_API_KEY"}')


@asynccontextmanager
async def site_with(*answers: bytes) -> AsyncIterator[tuple[ScriptedServer, httpx.AsyncClient]]:
    async def scenario(connection: Connection) -> None:
        await connection.read()
        login = wire.requests[-1].line.startswith("POST /api/v1/fetch_api_key")
        if login:
            await connection.write(raw_response(200, LOGIN))
            return
        for each in answers:
            await connection.write(each)
            await connection.read()

    async with ScriptedServer(scenario) as wire:
        source = ApiKeySource(AuthClient(wire.site), USERNAME, PASSWORD)
        async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=wire.site) as http:
            yield wire, http


def lines(server: ScriptedServer) -> list[str]:
    return [request.line.split()[1] for request in server.requests]


async def test_a_key_that_is_refused_again_is_not_renewed_for_ever() -> None:
    async with site_with(*[REVOKED] * 9) as (server, http):
        assert (await http.get("/x")).status_code == 401
        assert lines(server) == ["/api/v1/fetch_api_key", "/x", "/api/v1/fetch_api_key"]
        for _ in range(3):  # the login gave the same key, and would again
            assert (await http.get("/x")).status_code == 401
        assert lines(server).count("/api/v1/fetch_api_key") == 2


async def test_another_key_that_is_refused_is_not_renewed_again(
    server: FakeZulip, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_for(server) as http:
        await http.get(ME)
        account = server.account(USERNAME)
        # The organization takes no key any more, and gives new ones all the same.
        monkeypatch.setattr(
            "zulip_auth.testing.state.State.find_key", lambda *_: account.regenerate_api_key()
        )
        assert (await http.get(ME)).status_code == 401
    assert paths(server)[2:] == ["/users/me", "/fetch_api_key", "/users/me"]


REVOKED_WORDS = b'{"result": "error", "msg": "", "code": "UNAUTHORIZED"}'
ENCODED = {
    "gzip": (gzip.compress(REVOKED_WORDS), True),
    "deflate": (zlib.compress(REVOKED_WORDS), True),
    "identity": (REVOKED_WORDS, True),
    "br": (REVOKED_WORDS, False),
    "gzip, gzip": (gzip.compress(gzip.compress(REVOKED_WORDS)), False),
}


@pytest.mark.parametrize(("encoding", "sent"), ENCODED.items(), ids=ENCODED)
async def test_an_encoded_401_is_understood(encoding: str, sent: tuple[bytes, bool]) -> None:
    body, understood = sent
    refused = raw_response(401, body, {"content-encoding": encoding})
    async with site_with(refused) as (server, http):
        async with http.stream("GET", "/x") as respond:
            assert b"".join([chunk async for chunk in respond.aiter_raw()]) == body
        assert lines(server).count("/api/v1/fetch_api_key") == 1 + understood


@pytest.mark.parametrize(
    ("headers", "length"),
    [({}, 200_000), ({"content-encoding": "gzip"}, 100)],
    ids=["long", "a claim that is not so"],
)
async def test_a_401_that_is_not_zulips_reaches_who_asked_as_it_is(
    headers: dict[str, str], length: int
) -> None:
    body = b"a" * length
    async with site_with(raw_response(401, body, headers)) as (server, http):
        async with http.stream("GET", "/x") as respond:
            assert b"".join([chunk async for chunk in respond.aiter_raw()]) == body
        assert lines(server) == ["/api/v1/fetch_api_key", "/x"]


async def test_a_bomb_in_a_401_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 50_000_000)[:60_000]
    async with site_with(raw_response(401, bomb, {"content-encoding": "gzip"})) as (_, http):
        tracemalloc.start()
        try:
            async with http.stream("GET", "/x") as respond:
                assert respond.status_code == 401
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


OTHER_401 = {
    "another code": '{"result": "error", "msg": "", "code": "AUTHENTICATION_FAILED"}',
    "no code": '{"result": "error", "msg": ""}',
    "a list": "[]",
    "no JSON": "<html>",
    "no end": "[" * 100_000,
}


@pytest.mark.parametrize("body", OTHER_401.values(), ids=OTHER_401)
async def test_any_other_401_is_the_answer(body: str) -> None:
    async with site_with(kept_alive(401, body)) as (server, http):
        assert (await http.get("/x")).text == body
        assert lines(server) == ["/api/v1/fetch_api_key", "/x"]


async def test_another_host_gets_nothing(server: FakeZulip) -> None:
    async with (
        ScriptedServer(keep_answering(REVOKED)) as other,
        client_for(server, follow_redirects=True) as http,
    ):
        # Neither when it is asked itself, with another port, host or scheme, …
        for site in (other.site, other.site.replace("127.0.0.1", "localhost")):
            assert (await http.get(f"{site}/x")).status_code == 401
        # … nor does its 401 make anybody log in.
        assert paths(server) == []
        assert all("authorization" not in request.headers for request in other.requests)


async def test_another_host_gets_nothing_through_a_redirect() -> None:
    async with ScriptedServer(keep_answering(REVOKED)) as other:
        away = kept_alive(307, "", {"location": f"{other.site}/away"})
        async with site_with(away) as (server, http):
            http.follow_redirects = True
            respond = await http.post("/x", data={"a": "b"})
            assert (respond.status_code, str(respond.url)) == (401, f"{other.site}/away")
            assert "authorization" in server.requests[-1].headers
            # Its word that the key was revoked counts for nothing.
            assert lines(server) == ["/api/v1/fetch_api_key", "/x"]
        assert len(other.requests) == 1
        assert all("authorization" not in request.headers for request in other.requests)


async def test_a_redirect_within_the_site_keeps_the_key() -> None:
    there = kept_alive(302, "", {"location": "/there"})
    async with site_with(there, kept_alive(200, "{}")) as (server, http):
        http.follow_redirects = True
        assert (await http.get("/x")).status_code == 200
        assert lines(server)[1:] == ["/x", "/there"]
        assert all("authorization" in request.headers for request in server.requests[1:])


def test_the_synchronous_client_is_refused_with_a_reason() -> None:
    source = ApiKeySource(AuthClient("chat.example.com"), USERNAME, PASSWORD)
    with httpx.Client(auth=ApiKeyAuth(source)) as http, pytest.raises(TypeError) as caught:
        http.get("https://chat.example.com/")
    assert str(caught.value) == (
        "ApiKeyAuth is for httpx.AsyncClient; httpx.Client cannot wait for a login."
    )
    SecretScanner(PASSWORD).check_error(caught.value)


def test_a_source_is_needed() -> None:
    with pytest.raises(zulip_auth.InvalidInputError, match="source must be a ApiKeySource"):
        ApiKeyAuth("key")  # type: ignore[arg-type]


async def test_nothing_of_it_shows_a_secret(server: FakeZulip, http: httpx.AsyncClient) -> None:
    respond = await http.get(ME)
    leaks = SecretScanner(PASSWORD, server.account(USERNAME).api_key)
    leaks.check(repr(http.auth) + repr(vars(http.auth)), "the auth")
    leaks.check(repr(respond.request.headers), "the request's headers")
