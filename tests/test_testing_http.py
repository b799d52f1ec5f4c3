"""Parameters of requests to the stand-in server."""

from __future__ import annotations

import httpx
import pytest

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
    assert parse_form(content_type, body) == form


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
        ("PUT", "/api/v1/dev_list_users", ["GET", "POST"]),
        ("DELETE", "/api/v1/users/me", ["GET"]),
    ],
)
async def test_method_not_allowed(method: str, path: str, allowed: list[str]) -> None:
    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        response = await http.request(method, path)
        assert (response.status_code, response.headers["allow"]) == (405, ", ".join(allowed))
        assert response.json()["allowed_methods"] == allowed


async def test_invalid_json_parameter() -> None:
    async with FakeZulip({"iago@zulip.com": "x"}) as server:
        auth = ("iago@zulip.com", server.account("iago@zulip.com").api_key)
        async with httpx.AsyncClient(base_url=server.site, auth=auth) as http:
            response = await http.post("/api/v1/register", data={"event_types": "message"})
        assert response.json()["msg"] == "event_types is not valid JSON"
