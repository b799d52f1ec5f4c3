"""Keep nothing between two calls that is wrong after a fork, in threads, or after a pause."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from helpers.constants import PASSWORD, SUCCESS
from helpers.raw_server import Connection, ScriptedServer, raw_response
from helpers.tls import client_context, server_context
from zulip_auth import AuthClient

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="requires os.fork")


async def key_of_username(connection: Connection) -> None:
    """Respond to each login on a connection with a key that is made of its username."""
    while True:
        body = await connection.read()
        [username] = parse_qs(body.decode())["username"]
        success = {**SUCCESS, "email": username, "api_key": f"key-of-{username}"}
        await connection.write(
            raw_response(200, json.dumps(success)).replace(b"connection: close\r\n", b"")
        )


def log_in_often(client: AuthClient, username: str) -> bool:
    """Return whether each login returned the account's own key."""

    async def logins() -> list[str]:
        return [(await client.login(username, PASSWORD)).api_key for _ in range(15)]

    return set(asyncio.run(logins())) == {f"key-of-{username}"}


def in_fork(func: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1  # pragma: no cover - the child
    try:
        code = 0 if func() else 2
    finally:
        os._exit(code)


async def exit_codes(pids: list[int]) -> list[int]:
    statuses = [await asyncio.to_thread(os.waitpid, pid, 0) for pid in pids]
    return [os.waitstatus_to_exitcode(status) for _, status in statuses]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_forked_processes(tls: bool, test_ca: trustme.CA) -> None:
    """As with gunicorn's --preload: the parent has logged in before it forks."""
    context = client_context(test_ca) if tls else None
    async with ScriptedServer(
        key_of_username, tls=server_context(test_ca) if tls else None
    ) as server:
        client = AuthClient(server.site, ssl_context=context)
        await client.login("parent@zulip.com", PASSWORD)
        gc.collect()
        pids = [
            in_fork(lambda name=name: log_in_often(client, f"{name}@zulip.com"))  # type: ignore[misc]
            for name in ("one", "two")
        ]
        assert await exit_codes(pids) == [0, 0]
        assert (await client.login("parent@zulip.com", PASSWORD)).api_key.endswith(
            "parent@zulip.com"
        )


def exit_with(client: AuthClient, username: str) -> None:  # pragma: no cover - the child
    sys.exit(0 if log_in_often(client, username) else 2)


async def test_multiprocessing() -> None:
    fork = multiprocessing.get_context("fork")
    async with ScriptedServer(key_of_username) as server:
        client = AuthClient(server.site)
        await client.login("parent@zulip.com", PASSWORD)
        children: list[Any] = [
            fork.Process(target=exit_with, args=(client, f"{name}@zulip.com")) for name in "ab"
        ]
        for child in children:
            child.start()
        for child in children:
            await asyncio.to_thread(child.join)
        assert [child.exitcode for child in children] == [0, 0]


@pytest.mark.slow
async def test_frozen_process() -> None:
    """A process that was stopped for longer than its timeout logs in."""
    async with ScriptedServer(key_of_username) as server:
        client = AuthClient(server.site, timeout=5)

        def freeze() -> bool:
            asyncio.run(client.login("frozen@zulip.com", PASSWORD))
            os.kill(os.getpid(), signal.SIGSTOP)
            start = time.monotonic()
            return log_in_often(client, "frozen@zulip.com") and time.monotonic() - start < 5

        pid = in_fork(freeze)
        await asyncio.to_thread(os.waitpid, pid, os.WUNTRACED)
        os.kill(pid, signal.SIGCONT)
        assert await exit_codes([pid]) == [0]


async def test_second_response_in_the_same_record(test_ca: trustme.CA) -> None:
    """Bytes after a response, also such that wait inside OpenSSL, reach no other login."""

    async def respond_twice(connection: Connection) -> None:
        body = await connection.read()
        [username] = parse_qs(body.decode())["username"]
        success = {**SUCCESS, "email": username, "api_key": f"key-of-{username}"}
        response = raw_response(200, json.dumps(success))
        await connection.write(response.replace(b"connection: close\r\n", b"") * 2)
        await connection.wait_closed()

    async with ScriptedServer(respond_twice, tls=server_context(test_ca)) as server:
        client = AuthClient(server.site, ssl_context=client_context(test_ca))
        for number in range(5):
            username = f"user{number}@zulip.com"
            assert (await client.login(username, PASSWORD)).api_key == f"key-of-{username}"
        assert server.connections == 5
