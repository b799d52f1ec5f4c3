"""Parameters, methods and authentication of requests to the stand-in server."""

from __future__ import annotations

import time
from typing import Any, Literal

import httpx
import pytest

from helpers.caller import Organization
from helpers.constants import PASSWORD, USERNAME
from zulip_auth.testing import FakeZulip
from zulip_auth.testing.errors import ErrorResponse
from zulip_auth.testing.http import parse_form
from zulip_auth.testing.parameters import Count, Parameter, Topic, declared_parameters


def parse(kind: Any, text: str) -> Any:
    return Parameter.declare("x_", kind).parse({"x": text})


@pytest.mark.parametrize(
    ("kind", "text", "error"),
    [
        (Literal["a", "b"], "c", "Invalid x"),
        (int, "x", "x is not valid JSON"),
        (int, '"1"', "x is not an integer"),
        (int, "true", "x is not an integer"),
        (Count, "-1", "x is too small"),
        (bool, "1", "x is not a boolean"),
        (list[int], '[1, "2"]', "x[1] is not an integer"),
        (dict[str, str], "[]", "x is not a dict"),
        (dict[str, str], '{"a": 1}', 'x["a"] is not a string'),
        (list[dict[str, Any]], "[[]]", "x[0] is not a dict"),
    ],
)
def test_rejected_value(kind: Any, text: str, error: str) -> None:
    with pytest.raises(ErrorResponse) as caught:
        parse(kind, text)
    assert (str(caught.value), caught.value.status) == (error, 400)


def test_accepted_values() -> None:
    assert parse(int | None, "null") is None
    assert parse(list[Any], '[1, "2"]') == [1, "2"]
    assert parse(Literal["a", "b"], "b") == "b"

    def handler(call: object, id_: int, topic: Topic, limit: int = 7, **_: object) -> None:
        """Handle `GET /x/{id_:int}`."""

    topic, limit = declared_parameters(handler, "/x/{id_:int}")
    assert (topic.parse({"subject": "t"}), limit.parse({})) == ("t", 7)
    with pytest.raises(ErrorResponse, match="Missing 'topic' argument"):
        topic.parse({})


def multipart(*parts: str) -> bytes:
    prefix = "--xyz\r\nContent-Disposition: form-data; name="
    return "".join(f"{prefix}{part}\r\n" for part in parts).encode() + b"--xyz--\r\n"


FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=xyz"
FILE = '"f"; filename="x.txt"\r\n\r\ntext'


@pytest.mark.parametrize(
    ("content_type", "body", "form"),
    [
        (FORM, b"a=1&b=&c=%C3%A9", {"a": "1", "b": "", "c": "é"}),
        (f"{FORM.upper()}; charset=utf-8", b"a=1", {"a": "1"}),
        ("application/json", b'{"a": 1}', {}),
        ("", b"a=1", {}),
        (MULTIPART, multipart('"a"\r\n\r\né\n1'), {"a": "é\n1"}),
        (MULTIPART, multipart('"a"\r\n\r\n1', FILE), {"a": "1"}),
        (MULTIPART, b"not multipart", {}),
    ],
)
def test_parse_form(content_type: str, body: bytes, form: dict[str, str]) -> None:
    assert parse_form(content_type, body)[0] == form


def test_form_precedes_query(server: FakeZulip) -> None:
    query, form = {"username": "x@y.z", "password": PASSWORD}, {"username": USERNAME}
    assert httpx.post(f"{server.site}/api/v1/fetch_api_key", params=query, data=form).is_success


def test_methods(org: Organization) -> None:
    for method, path, allowed in (
        ("GET", "/fetch_api_key", ["POST"]),
        ("OPTIONS", "/fetch_api_key", ["POST"]),
        ("PUT", "/dev_list_users", ["GET", "POST", "HEAD"]),
    ):
        response = httpx.request(method, f"{org.server.site}/api/v1{path}")
        assert (response.status_code, response.headers["allow"]) == (405, ", ".join(allowed))
        assert response.json()["allowed_methods"] == allowed
    response = org.bot.send("HEAD /users/me")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["x-ratelimit-remaining"] == "199"
    assert int(response.headers["content-length"]) > 100
    response = httpx.options(f"{org.server.site}/api/v1/messages")  # without an API key
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "GET, HEAD, POST"


# ---- Authentication


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic YWJj", "Basic //8="])
def test_invalid_authorization_header(header: str, server: FakeZulip) -> None:
    response = httpx.get(f"{server.site}/api/v1/users/me", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json()["msg"] == "Invalid authorization header for basic auth"


def test_key_at_deactivated_organization(org: Organization) -> None:
    """tests/test_testing_recordings.py has the other rejected keys."""
    org.server.realm.active = False
    assert org.iago.error("GET /users/me") == "This organization has been deactivated"


def test_incoming_webhook_only_sends_messages(org: Organization) -> None:
    org.bot.account.bot_type = 2
    error = org.bot.error("GET /users/me")
    assert error == "This API is not available to incoming webhook bots."
    org.bot.ok("POST /messages", type="direct", to="iago@zulip.com", content="hi")


def test_200_requests_a_minute_for_each_account(org: Organization) -> None:
    response = org.iago.send("GET /streams/7")  # an error counts
    assert (response.status_code, response.headers["x-ratelimit-remaining"]) == (400, "199")
    for _ in range(199):
        org.server._state.calls.record(org.iago.account, time.time())
    org.iago.account.regenerate_api_key()  # the limit is not that of the key
    org.iago.http.auth = (org.iago.account.email, org.iago.account.api_key)
    assert org.iago("GET /users/me")["code"] == "RATE_LIMIT_HIT"
    org.hamlet.ok("GET /users/me")
    org.server.advance(60)
    org.iago.ok("GET /users/me")
