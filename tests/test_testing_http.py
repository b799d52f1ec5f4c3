"""Parameters and authentication of requests to the stand-in server."""

from __future__ import annotations

import base64
import time

import httpx
import pytest

from helpers.api_client import APIClient
from zulip_auth.testing import FakeZulip
from zulip_auth.testing.http import parse_form

BOUNDARY = "multipart/form-data; boundary=xyz"


def multipart(*parts: str) -> bytes:
    prefix = "--xyz\r\nContent-Disposition: form-data; name="
    return "".join(f"{prefix}{part}\r\n" for part in parts).encode() + b"--xyz--\r\n"


@pytest.mark.parametrize(
    ("content_type", "body", "form"),
    [
        ("application/x-www-form-urlencoded", b"a=1&b=&c=%C3%A9", {"a": "1", "b": "", "c": "é"}),
        ("Application/X-WWW-Form-Urlencoded; charset=utf-8", b"a=1", {"a": "1"}),
        ("application/json", b'{"a": 1}', {}),
        ("", b"a=1", {}),
        (
            BOUNDARY,
            multipart('"a"\r\n\r\né\n1'),
            {"a": "é\n1"},
        ),
        (
            BOUNDARY,
            multipart(
                '"a"\r\n\r\n1',
                '"f"; filename="x.txt"\r\n\r\ntext',
            ),
            {"a": "1"},
        ),
        (BOUNDARY, b"not multipart", {}),
    ],
)
def test_parse_form(content_type: str, body: bytes, form: dict[str, str]) -> None:
    assert parse_form(content_type, body)[0] == form


async def test_form_takes_precedence_over_query() -> None:
    async with FakeZulip({"iago@zulip.com": "x"}) as server:
        async with httpx.AsyncClient(base_url=server.site) as http:
            query, form = {"username": "x", "password": "x"}, {"username": "iago@zulip.com"}
            response = await http.post("/api/v1/fetch_api_key", params=query, data=form)
        assert response.json()["email"] == "iago@zulip.com"


async def test_multipart_login() -> None:
    async with FakeZulip({"iago@zulip.com": "pässword"}) as server:
        async with httpx.AsyncClient(base_url=server.site) as http:
            fields = {"username": (None, "iago@zulip.com"), "password": (None, "pässword")}
            response = await http.post("/api/v1/fetch_api_key", files=fields)
        assert response.status_code == 200
        assert server.requests[0].form["password"] == "pässword"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/fetch_api_key", ["POST"]),
        ("OPTIONS", "/api/v1/fetch_api_key", ["POST"]),
        ("PUT", "/api/v1/dev_list_users", ["GET", "POST", "HEAD"]),
        ("PUT", "/api/v1/users/me", ["GET", "DELETE", "HEAD"]),
    ],
)
async def test_method_not_allowed(method: str, path: str, allowed: list[str]) -> None:
    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        response = await http.request(method, path)
        assert (response.status_code, response.headers["allow"]) == (405, ", ".join(allowed))
        assert response.json()["allowed_methods"] == allowed


async def test_head_and_options() -> None:
    async with FakeZulip({"iago@zulip.com": "x"}) as server:
        auth = ("iago@zulip.com", server.account("iago@zulip.com").api_key)
        async with httpx.AsyncClient(base_url=f"{server.site}/api/v1") as http:
            response = await http.head("/users/me", auth=auth)
            assert (response.status_code, response.content) == (200, b"")
            assert response.headers["x-ratelimit-remaining"] == "199"
            assert int(response.headers["content-length"]) > 100
            assert (await http.head("/users/me")).status_code == 401
            response = await http.options("/messages")  # without an API key
            assert (response.status_code, response.content) == (204, b"")
            assert response.headers["allow"] == "GET, HEAD, POST"


async def test_production() -> None:
    async with FakeZulip(dev_login="production") as server, httpx.AsyncClient() as http:
        for path in ("/dev_fetch_api_key", "/dev_list_users"):
            response = await http.post(f"{server.site}/api/v1{path}")
            assert response.status_code == 404
            assert response.headers["content-type"].startswith("text/html")


async def test_invalid_json_parameter() -> None:
    async with FakeZulip({"iago@zulip.com": "x"}) as server:
        auth = ("iago@zulip.com", server.account("iago@zulip.com").api_key)
        async with httpx.AsyncClient(base_url=server.site, auth=auth) as http:
            response = await http.post("/api/v1/register", data={"event_types": "message"})
        assert response.json()["msg"] == "event_types is not valid JSON"


# ---- Authentication


@pytest.mark.parametrize(
    ("header", "status", "msg"),
    [
        ("Bearer abc", 400, "This endpoint requires HTTP basic authentication."),
        ("Basic", 401, "Invalid authorization header for basic auth"),
        ("Basic !", 401, "Invalid authorization header for basic auth"),
        ("Basic YWJj", 401, "Invalid authorization header for basic auth"),
        ("Basic //8=", 401, "Invalid authorization header for basic auth"),
    ],
)
async def test_invalid_authorization_header(header: str, status: int, msg: str) -> None:
    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        response = await http.get("/api/v1/users/me", headers={"Authorization": header})
    code = {400: "BAD_REQUEST", 401: "UNAUTHORIZED"}[status]
    assert response.status_code == status
    assert response.json() == {"result": "error", "msg": msg, "code": code}


async def test_api_key_of_other_or_inactive_account() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x", "hamlet@zulip.com": "x"}) as server:
        iago = server.account("iago@zulip.com")
        second = server.add_realm("localhost")

        async def me(site: str, email: str) -> str:
            async with httpx.AsyncClient(base_url=site, auth=(email, iago.api_key)) as http:
                body = (await http.get("/api/v1/users/me")).json()
                return str(body.get("delivery_email") or body["msg"])

        assert await me(server.site, "IAGO@zulip.com") == "iago@zulip.com"
        assert await me(server.site, "hamlet@zulip.com") == "Invalid API key"
        assert await me(second.site, iago.email) == "Account is not associated with this subdomain"
        iago.active = False
        assert await me(server.site, iago.email) == "Account is deactivated"
        server.realm.active = False
        assert await me(server.site, iago.email) == "This organization has been deactivated"


async def test_spaces_around_email_and_api_key() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x"}) as server:
        credentials = f" iago@zulip.com : {server.account('iago@zulip.com').api_key} "
        headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
        async with httpx.AsyncClient(base_url=server.site, headers=headers) as http:
            assert (await http.get("/api/v1/users/me")).status_code == 200


async def test_incoming_webhook_only_sends_messages() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x"}) as server:
        hook = server.add_bot("iago@zulip.com", "Hook")
        hook.bot_type = 2
        client = APIClient(server, hook.email)
        body = await client.call("GET", "/users/me")
        assert body["msg"] == "This API is not available to incoming webhook bots."
        message = {"type": "direct", "to": "iago@zulip.com", "content": "hi"}
        assert (await client.call("POST", "/messages", **message))["result"] == "success"


async def test_200_requests_a_minute_for_each_account() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x", "hamlet@zulip.com": "x"}) as server:
        iago, hamlet = APIClient(server, "iago@zulip.com"), APIClient(server, "hamlet@zulip.com")
        first = await iago.request("GET", "/users/me")
        assert first.headers["x-ratelimit-limit"] == "200"
        assert first.headers["x-ratelimit-remaining"] == "199"
        for _ in range(199):
            server._state.calls.record(iago.account, time.time())
        iago.account.regenerate_api_key()  # the limit is not that of the key
        blocked = await iago.request("GET", "/users/me")
        assert (blocked.status_code, blocked.json()["code"]) == (429, "RATE_LIMIT_HIT")
        assert 50 < float(blocked.headers["retry-after"]) <= 60
        assert (await hamlet.request("GET", "/users/me")).status_code == 200
        server.advance(60)
        assert (await iago.request("GET", "/users/me")).status_code == 200


async def test_rejected_key_is_not_counted() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x"}) as server:
        iago = APIClient(server, "iago@zulip.com")
        iago.account.active = False
        response = await iago.request("GET", "/users/me")
        assert response.status_code == 401 and "x-ratelimit-limit" not in response.headers
        iago.account.active = True
        response = await iago.request("GET", "/streams/7")
        assert response.status_code == 400  # an error counts
        assert response.headers["x-ratelimit-remaining"] == "199"
