"""Each claim of docs/environments.md: trio, uvloop, IPython and Jupyter, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trio
import uvloop
from jupyter_client.manager import start_new_kernel

import zulip_auth
from helpers.constants import PASSWORD, USERNAME
from helpers.secret_scanner import SecretScanner
from zulip_auth import ApiKeySource, AuthClient
from zulip_auth.httpx_auth import ApiKeyAuth
from zulip_auth.testing import FakeZulip

# ---- Event loops


async def send_request(client: AuthClient) -> None:
    source = ApiKeySource(client, USERNAME, PASSWORD)
    async with httpx.AsyncClient(auth=ApiKeyAuth(source)) as http:
        await http.get(client.site)


CALLS: dict[str, Callable[[AuthClient], Coroutine[Any, Any, object]]] = {
    "login()": lambda client: zulip_auth.login(client.site, USERNAME, PASSWORD),
    "dev_login()": lambda client: zulip_auth.dev_login(client.site, USERNAME),
    "server_settings": lambda client: client.server_settings(),
    "source": lambda client: ApiKeySource(client, USERNAME, PASSWORD).get(),
    "ApiKeyAuth": send_request,
}


@pytest.mark.parametrize("name", CALLS)
def test_trio_raises(name: str, server: FakeZulip) -> None:
    async def call() -> None:
        await CALLS[name](AuthClient(server.site))

    with pytest.raises(RuntimeError) as caught:
        trio.run(call)
    assert str(caught.value) == (
        "zulip-auth requires a running asyncio event loop. "
        "Under trio, run it in a thread: trio.to_thread.run_sync(asyncio.run, ...)."
    )
    assert not server.requests


async def log_in_often(client: AuthClient) -> set[str]:
    logins = await asyncio.gather(*(client.login(USERNAME, PASSWORD) for _ in range(4)))
    return {credentials.email for credentials in logins}


def test_trio_thread(server: FakeZulip) -> None:
    client = AuthClient(server.site)
    assert trio.run(trio.to_thread.run_sync, lambda: asyncio.run(log_in_often(client))) == {
        USERNAME
    }


def test_anyio_on_asyncio(server: FakeZulip) -> None:
    assert anyio.run(log_in_often, AuthClient(server.site)) == {USERNAME}


@pytest.mark.parametrize("debug", [False, True])
def test_uvloop(debug: bool, server: FakeZulip) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop, debug=debug) as runner:
        assert runner.run(log_in_often(AuthClient(server.site))) == {USERNAME}


# ---- IPython and Jupyter


CELLS = [
    "import zulip_auth; client = zulip_auth.AuthClient(SITE)",
    "print((await client.login(USERNAME, PASSWORD)).email)",
    "print((await client.login(USERNAME, PASSWORD)).email)  # another cell",
    "await zulip_auth.login(SITE, USERNAME, PASSWORD)",
    "await zulip_auth.login(SITE, USERNAME, PASSWORD[::-1])",
]


@pytest.mark.slow
def test_jupyter(server: FakeZulip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    manager, kernel = start_new_kernel(kernel_name="python3")
    outputs: list[str] = []

    def record(message: Any) -> None:
        content = message["content"]
        text = content.get("text") or content.get("data", {}).get("text/plain", "")
        outputs.append(text + "".join(content.get("traceback", [])))

    def run(code: str) -> str:
        return str(
            kernel.execute_interactive(code, timeout=30, output_hook=record)["content"]["status"]
        )

    try:
        run(f"SITE, USERNAME, PASSWORD = {server.site!r}, {USERNAME!r}, {PASSWORD!r}")
        assert [run(cell) for cell in CELLS] == ["ok"] * 4 + ["error"]
        outputs_of_cells = "".join(outputs)
        assert run("asyncio.run(zulip_auth.login(SITE, USERNAME, PASSWORD))") == "error"
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
    assert outputs_of_cells.count(USERNAME) >= 3
    assert "AuthenticationFailedError" in outputs_of_cells
    SecretScanner(PASSWORD, PASSWORD[::-1], server.account(USERNAME).api_key).check(
        outputs_of_cells, "the output of the cells"
    )


# ---- Threads


def test_threads_share_client(server: FakeZulip) -> None:
    client = AuthClient(server.site)
    with ThreadPoolExecutor(4) as executor:
        results = executor.map(lambda _: asyncio.run(log_in_often(client)), range(4))
    assert [*results] == [{USERNAME}] * 4
