"""The stand-in server's package: what it requires, its endpoints, and its control over HTTP."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.routing import Route

from zulip_auth.testing import FakeZulip
from zulip_auth.testing.endpoints.unserved import reject
from zulip_auth.testing.http import Path as Endpoints

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"


MISSING = """\
import sys
for name in ("jwt", "starlette", "uvicorn", "click"):
    for loaded in [n for n in sys.modules if n.startswith(("zulip_auth", "starlette", "uvicorn"))]:
        del sys.modules[loaded]
    sys.modules[name] = None
    try:
        import zulip_auth.testing
    except ModuleNotFoundError as error:
        print(name, error)
    del sys.modules[name]
"""


@pytest.mark.usefixtures("measured_subprocesses")
def test_missing_modules() -> None:
    """A missing module of the extra names it; another one does not."""
    output = subprocess.check_output([sys.executable, "-c", MISSING], text=True)
    lines = output.splitlines()
    assert len(lines) == 4
    assert all("pip install 'zulip-auth[testing]'" in line for line in lines[:3])
    assert lines[3].startswith("click import of click") and "[testing]" not in lines[3]


def test_documented_endpoints() -> None:
    routes = set()
    for route in FakeZulip().app.routes:
        assert isinstance(route, Route)
        if isinstance(route.endpoint, Endpoints):
            path = re.sub(r"(_?):\w+}", "}", route.path.removeprefix("/api/v1"))
            served = route.endpoint.endpoints.items()
            routes |= {(m, path.replace("_}", "}")) for m, e in served if e.handler is not reject}
    table = PAGE.read_text(encoding="utf-8").partition("## Endpoints")[2]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [name for cell in cells for name in re.findall(r"`(\w+) (/[^`]*)`", cell)]
    assert sorted(documented) == sorted(routes)


# ---- Control over HTTP


def post(server: FakeZulip, action: str, **arguments: object) -> httpx.Response:
    return httpx.post(f"{server.site}/fake-zulip/{action}", json=arguments)


def test_control_over_http(fake_zulip: FakeZulip) -> None:
    site, url = fake_zulip.site, f"{fake_zulip.site}/api/v1/server_settings"
    fault = {"path": "/api/v1/server_settings", "status": 502, "headers": {"X-A": "b"}}
    assert post(fake_zulip, "fail_next", **fault).json() == {"result": None}
    response = httpx.get(url)
    assert (response.status_code, response.headers["x-a"]) == (502, "b")
    assert httpx.get(url).status_code == 200
    user = {"email": "iago@zulip.com", "password": "secret", "full_name": "Iago"}
    assert post(fake_zulip, "add_user", **user).json()["result"]["user_id"] == 10
    bot = post(fake_zulip, "add_bot", owner_email="iago@zulip.com", full_name="Echo").json()
    email, key = bot["result"]["email"], bot["result"]["api_key"]
    assert fake_zulip.account(email).api_key == key
    message = {"sender": "iago@zulip.com", "to": email, "content": "hi"}
    assert post(fake_zulip, "send", **message).json() == {"result": 1}
    assert post(fake_zulip, "advance", seconds=60).status_code == 200
    [listed] = httpx.get(f"{site}/fake-zulip/messages").json()["messages"]
    assert (listed["id"], listed["content"]) == (1, "hi")
    # Those of the control are not recorded.
    requests = httpx.get(f"{site}/fake-zulip/requests").json()["requests"]
    assert [(request["path"], request["status"]) for request in requests] == [
        ("/api/v1/server_settings", 502),
        ("/api/v1/server_settings", 200),
    ]


def test_control_errors(fake_zulip: FakeZulip) -> None:
    for action, arguments, status, error in (
        ("stop", {}, 404, "Unknown action. Available: GET messages, GET requests, GET unserved, "),
        ("send", {"sender": "x", "to": [], "content": "hi"}, 400, "Unknown account or channel: x"),
        ("advance", {"minutes": 1}, 400, "FakeZulip.advance() got an unexpected keyword argument"),
    ):
        response = post(fake_zulip, action, **arguments)
        assert response.status_code == status
        assert response.json()["error"].startswith(error)
    # A page in a browser can send a form to a server on loopback, but not JSON.
    url = f"{fake_zulip.site}/fake-zulip/advance"
    assert httpx.post(url, content='{"seconds": 1}').status_code == 415
    json = {"Content-Type": "application/json; charset=utf-8"}
    assert httpx.post(url, content="{", headers=json).status_code == 400
