"""The generated client, on its own and in the facade, and the scripts that generate it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import check_generated
import generate
import httpx
import pytest

from helpers.constants import USERNAME
from helpers.raw_server import ScriptedServer, respond
from zulip_auth._errors import RequestContext
from zulip_auth._http import send
from zulip_auth.testing import FakeZulip
from zulip_auth_client import AuthenticatedClient, Client
from zulip_auth_client.api.authentication import fetch_api_key, get_own_user
from zulip_auth_client.errors import UnexpectedStatus
from zulip_auth_client.models import ApiKeyResponse, FetchApiKeyBody, OwnBot
from zulip_auth_client.types import Response

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "generated" / "zulip_auth_client"
SECRET = "hunter2"


def body() -> FetchApiKeyBody:
    body = FetchApiKeyBody("iago@zulip.com", SECRET)
    body["another"] = SECRET
    return body


def success() -> ApiKeyResponse:
    return ApiKeyResponse.from_dict(
        {"result": "success", "msg": "", "api_key": SECRET, "email": "a@b.c", "token": SECRET}
    )


def test_repr_hides_secrets() -> None:
    site = "https://chat.example.com"
    for value in (
        body(),
        success(),
        OwnBot("echo-bot@zulip.com", "Echo", SECRET),
        Response(200, SECRET.encode(), {"set-cookie": SECRET}, success()),
        Client(
            site,
            headers={"Authorization": SECRET},
            cookies={"sessionid": SECRET},
            httpx_args={"auth": ("a@b.c", SECRET)},
        ),
        AuthenticatedClient(site, token=SECRET, headers={"X-Key": SECRET}),
    ):
        for text in (repr(value), str(value), f"{value}"):
            assert text.startswith(type(value).__name__)
            assert SECRET not in text
    assert body().to_dict() == {"username": "iago@zulip.com", "password": SECRET, "another": SECRET}
    assert success().api_key == success()["token"] == SECRET


# ---- Requests and responses


def client_for(
    status: int, content: bytes, requests: list[httpx.Request], **options: Any
) -> Client:
    """Return a client that gets one response to each request."""

    def respond(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        return httpx.Response(status, content=content)

    transport = httpx.MockTransport(respond)
    return Client("https://chat.example.com", httpx_args={"transport": transport}, **options)


async def log_in(status: int, content: bytes, **options: Any) -> Response[Any]:
    client = client_for(status, content, [], **options)
    return await fetch_api_key.asyncio_detailed(client=client, body=body())


NOT_ZULIP = [(404, b"<!DOCTYPE html>"), (401, b""), (502, b'{"msg": "\xff"}'), (400, b"[]")]
NOT_ZULIP += [(400, b"null"), (429, b'{"error": "quota"}'), (500, b"[" * 100_000)]
NOT_ZULIP += [(status, b"{}") for status in (418, 299, 799)]


@pytest.mark.parametrize(("status", "content"), NOT_ZULIP, ids=range(len(NOT_ZULIP)))
async def test_response_of_other_software(status: int, content: bytes) -> None:
    response = await log_in(status, content)
    assert (response.status_code, response.content, response.parsed) == (status, content, None)
    with pytest.raises(UnexpectedStatus) as caught:
        await log_in(status, content, raise_on_unexpected_status=True)
    assert str(caught.value) == f"Unexpected status code: {status}"
    assert caught.value.__context__ is None


async def test_default_authentication(server: FakeZulip) -> None:
    key = server.account(USERNAME).api_key
    token = base64.b64encode(f"{USERNAME}:{key}".encode()).decode()
    async with AuthenticatedClient(f"{server.site}/api/v1", token=token) as client:
        assert client.get_async_httpx_client().timeout == httpx.Timeout(30.0)
        response = await get_own_user.asyncio_detailed(client=client)
    assert response.status_code == 200


@pytest.mark.slow
async def test_operations_of_any_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query string, JSON, path parameters, arrays and files need no change in the facade."""
    description = ROOT / "tests" / "data" / "operations.yaml"
    generate.generate(tmp_path, description=description, package="operations_client")
    monkeypatch.syspath_prepend(tmp_path)
    models = import_module("operations_client.models")

    async def send_to(server: ScriptedServer, name: str, *args: Any, **kwargs: Any) -> Any:
        operation = import_module(f"operations_client.api.items.{name}")
        return await send(
            partial(operation.asyncio_detailed, *args, **kwargs),
            RequestContext(server.site, "none"),
            transport=None,
            ssl_context=None,
            user_agent=None,
            timeout=5,
            deadline=asyncio.get_running_loop().time() + 5,
        )

    item = models.Item(name="é", labels=["a"], secret=SECRET, parts=[models.Item(name="b")])
    async with ScriptedServer(respond(200, json.dumps(item.to_dict()))) as server:
        created = await send_to(server, "create_item", body=item)
        assert created == item
        assert SECRET not in repr(created)
        await send_to(server, "replace_items", body=[item])
        await send_to(server, "remove_label", 7, "a/b?c")
        file = import_module("operations_client.types").File(io.BytesIO(b"content"), "a.txt")
        await send_to(server, "upload_file", 7, body=models.UploadFileBody(file=file))
        create, replace, remove, upload_file = server.requests
    async with ScriptedServer(respond(200, '[{"name": "b"}]')) as server:
        query = {"limit": 3, "archived": False, "label": ["a", "&"], "x_trace": "t"}
        assert await send_to(server, "list_items", **query) == [models.Item(name="b")]
        [list_items] = server.requests
    assert json.loads(create.body) == item.to_dict()
    assert json.loads(replace.body) == [item.to_dict()]
    assert remove.line.split()[1] == "/api/v1/items/7/labels/a%2Fb%3Fc"
    assert b'filename="a.txt"' in upload_file.body
    assert list_items.line.split()[1] == "/api/v1/items?limit=3&archived=false&label=a&label=%26"
    assert list_items.headers["x-trace"] == "t"


# ---- Scripts


def test_files_of_a_change_exist() -> None:
    text = (ROOT / "docs" / "regenerating.md").read_text(encoding="utf-8")
    table = text[text.index("## Files of a change") : text.index("## The generator")]
    names = re.findall(r"`((?:openapi|generated|scripts|tests|zulip_auth)/[^`*]*)", table)
    assert len(names) >= 9
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_edited_client_fails_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(parent: Path) -> None:
        shutil.copytree(PACKAGE, parent / PACKAGE.name)

    generate(tmp_path / "generated")
    monkeypatch.setattr(check_generated, "generate", generate)
    monkeypatch.setattr(check_generated, "ROOT", tmp_path)
    check_generated.main()
    package = tmp_path / "generated" / PACKAGE.name
    (package / "client.py").write_bytes((package / "client.py").read_bytes() + b"\n")
    (package / "errors.py").unlink()
    (package / "more.py").touch()
    with pytest.raises(SystemExit, match=r"Differing files:\n  client.py\n  errors.py\n  more.py$"):
        check_generated.main()


@pytest.mark.slow
def test_template_that_does_not_fit_fails(tmp_path: Path) -> None:
    """The generated client is left unchanged then."""
    for name in ("openapi", "scripts", "generated"):
        shutil.copytree(ROOT / name, tmp_path / name)
    template = tmp_path / "openapi" / "templates" / "types.py.jinja"
    text = template.read_text(encoding="utf-8")
    template.write_text(text.replace('"    content: bytes\\n"', '"    content: bytearray\\n"'))
    command = [sys.executable, "-B", str(tmp_path / "scripts" / "generate.py")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "The stock template does not write:     content: bytearray\n" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("openapi/templates/types.py.jinja does not work with openapi-python-")
    assert check_generated.files(tmp_path / "generated") == check_generated.files(PACKAGE.parent)
