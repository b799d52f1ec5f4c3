"""Keep nothing between two calls that is wrong after a fork."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme

from helpers.constants import PASSWORD, SUCCESS, USERNAME
from helpers.raw_server import Connection, ScriptedServer, raw_response
from helpers.requests import logins
from helpers.tls import client_context, server_context
from zulip_auth import ApiKeySource, AuthClient, ZuliprcStore
from zulip_auth.testing import FakeZulip

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="requires os.fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


async def send_key_of_username(connection: Connection, times: int = 1) -> None:
    """Respond to a login with a key that is made of its username."""
    body = await connection.read()
    [username] = parse_qs(body.decode())["username"]
    success = {**SUCCESS, "email": username, "api_key": f"key-of-{username}"}
    response = raw_response(200, json.dumps(success)).replace(b"connection: close\r\n", b"")
    await connection.write(response * times)


async def key_of_username(connection: Connection) -> None:
    while True:
        await send_key_of_username(connection)


def log_in_often(client: AuthClient, username: str) -> bool:
    """Return whether each login returned the account's own key."""

    async def logins() -> list[str]:
        return [(await client.login(username, PASSWORD)).api_key for _ in range(15)]

    return set(asyncio.run(logins())) == {f"key-of-{username}"}


def in_fork(func: Callable[[], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1  # pragma: no cover - the child
    try:
        code = 0 if func() else 2
    finally:
        os._exit(code)


async def exit_codes(*pids: int) -> list[int]:
    statuses = [await asyncio.to_thread(os.waitpid, pid, 0) for pid in pids]
    return [os.waitstatus_to_exitcode(status) for _, status in statuses]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_forked_processes(tls: bool, test_ca: trustme.CA) -> None:
    """As with gunicorn's --preload: the parent has logged in before it forks."""
    context = client_context(test_ca) if tls else None
    server_tls = server_context(test_ca) if tls else None
    async with ScriptedServer(key_of_username, tls=server_tls) as server:
        client = AuthClient(server.site, ssl_context=context)
        await client.login("parent@zulip.com", PASSWORD)
        gc.collect()
        pids = [
            in_fork(lambda name=name: log_in_often(client, f"{name}@zulip.com"))  # type: ignore[misc]
            for name in ("one", "two")
        ]
        assert await exit_codes(*pids) == [0, 0]
        credentials = await client.login("parent@zulip.com", PASSWORD)
        assert credentials.api_key == "key-of-parent@zulip.com"


async def test_second_response_in_the_same_record(test_ca: trustme.CA) -> None:
    """Bytes after a response, also such that wait inside OpenSSL, reach no other login."""

    async def respond_twice(connection: Connection) -> None:
        await send_key_of_username(connection, times=2)
        await connection.wait_closed()

    async with ScriptedServer(respond_twice, tls=server_context(test_ca)) as server:
        client = AuthClient(server.site, ssl_context=client_context(test_ca))
        for number in range(3):
            username = f"user{number}@zulip.com"
            assert (await client.login(username, PASSWORD)).api_key == f"key-of-{username}"
        assert server.connections == 3


# ---- Sources


@pytest.mark.parametrize("state", ["during a login", "after a login"])
async def test_source_of_the_parent(server: FakeZulip, state: str) -> None:
    """A child process logs in by itself, or uses the credentials of its parent."""
    parent = os.getpid()
    asked, release = asyncio.Event(), asyncio.Event()

    async def password() -> str:
        if os.getpid() == parent:
            asked.set()
            await release.wait()
        return PASSWORD

    source = ApiKeySource(AuthClient(server.site), USERNAME, password)
    getting = asyncio.create_task(source.get())
    await asked.wait()
    if state == "after a login":
        release.set()
        await getting
    pid = in_fork(lambda: asyncio.run(asyncio.wait_for(source.get(), 10)))
    assert await exit_codes(pid) == [0]
    release.set()
    assert (await getting).email == USERNAME
    assert logins(server) == (1 if state == "after a login" else 2)


async def test_eight_workers_log_in_once(server: FakeZulip, path: Path) -> None:
    key = server.account(USERNAME).api_key
    server.password_check_time = 0.2

    def work() -> bool:  # pragma: no cover - the child
        client = AuthClient(server.site)
        source = ApiKeySource(client, USERNAME, PASSWORD, store=ZuliprcStore(path))
        return asyncio.run(source.get()).api_key == key

    pids = [in_fork(work) for _ in range(8)]
    assert await exit_codes(*pids) == [0] * 8
    assert logins(server) == 1
    assert list(path.parent.iterdir()) == [path]
