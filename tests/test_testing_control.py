"""Control of the stand-in server over HTTP."""

from __future__ import annotations

import httpx
import pytest

from zulip_auth.testing import FakeZulip


def post(server: FakeZulip, action: str, **arguments: object) -> httpx.Response:
    return httpx.post(f"{server.site}/fake-zulip/{action}", json=arguments)


def test_fail_next() -> None:
    with FakeZulip() as server:
        url = f"{server.site}/api/v1/server_settings"
        fault = {"path": "/api/v1/server_settings", "status": 502, "headers": {"X-A": "b"}}
        assert post(server, "fail_next", **fault).json() == {"result": None}
        response = httpx.get(url)
        assert (response.status_code, response.headers["x-a"]) == (502, "b")
        assert httpx.get(url).status_code == 200
        assert len(server.requests) == 2  # those of the control are not recorded


def test_accounts_messages_and_clock() -> None:
    with FakeZulip() as server:
        user = {"email": "iago@zulip.com", "password": "secret", "full_name": "Iago"}
        assert post(server, "add_user", **user).json()["result"]["user_id"] == 10
        bot = post(server, "add_bot", owner_email="iago@zulip.com", full_name="Echo").json()
        bot_email, key = bot["result"]["email"], bot["result"]["api_key"]
        assert server.account(bot_email).api_key == key
        message = {"sender": "iago@zulip.com", "to": bot_email, "content": "hi"}
        assert post(server, "send", **message).json() == {"result": 1}
        assert post(server, "advance", seconds=60).status_code == 200
        [listed] = httpx.get(f"{server.site}/fake-zulip/messages").json()["messages"]
        assert (listed["id"], listed["content"]) == (1, "hi")
        httpx.get(f"{server.site}/api/v1/users/me")
        [request] = httpx.get(f"{server.site}/fake-zulip/requests").json()["requests"]
        assert (request["method"], request["path"]) == ("GET", "/api/v1/users/me")


@pytest.mark.parametrize(
    ("action", "arguments", "error"),
    [
        ("stop", {}, "Unknown action. Available: GET messages, GET requests, GET unserved, POST"),
        ("send", {"sender": "x", "to": [], "content": "hi"}, "Unknown account or channel: x"),
        ("advance", {"minutes": 1}, "FakeZulip.advance() got an unexpected keyword argument"),
        ("expire_queues", {"x": 1}, "FakeZulip.expire_queues() got an unexpected"),
    ],
)
def test_errors(action: str, arguments: dict[str, object], error: str) -> None:
    with FakeZulip() as server:
        response = post(server, action, **arguments)
        assert response.status_code in (400, 404)
        assert response.json()["error"].startswith(error)


def test_other_content_types_are_rejected() -> None:
    """A page in a browser can send a form to a server on loopback, but not JSON."""
    with FakeZulip() as server:
        response = httpx.post(f"{server.site}/fake-zulip/advance", content='{"seconds": 1}')
        assert response.status_code == 415
        response = httpx.post(
            f"{server.site}/fake-zulip/advance",
            content="{",
            headers={"Content-Type": "application/json; charset=utf-8"},
        )
        assert response.status_code == 400
