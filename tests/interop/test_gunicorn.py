"""Workers that gunicorn forks from a process that has logged in: `gunicorn --preload`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx
import pytest

from helpers.raw_server import wait_until
from interop.program import PROGRAMS
from zulip_auth.testing import FakeZulip

pytest.importorskip("gunicorn", reason="gunicorn is not installed: run make interop")

USERS = [f"user{number}@example.com" for number in range(40)]


async def test_preload(tmp_path: Path) -> None:
    users = {user: f"password{number}" for number, user in enumerate(USERS)}
    socket = tmp_path / "socket"
    with FakeZulip(users=users) as server:
        process = await asyncio.create_subprocess_exec(
            *(
                Path(sys.executable).with_name("gunicorn"),
                "--preload",
                "--workers=2",
                f"--bind=unix:{socket}",
            ),
            "wsgi",
            cwd=PROGRAMS,
            env={**os.environ, "SITE": server.site},
        )
        try:
            # Bound before the workers start; requests wait in its queue.
            await wait_until(socket.exists)
            transport = httpx.AsyncHTTPTransport(uds=str(socket))
            async with httpx.AsyncClient(transport=transport, base_url="http://worker") as http:
                numbers = [*range(len(USERS))] * 5
                responses = await asyncio.gather(
                    *(http.get(f"/?{number}", timeout=60) for number in numbers)
                )
        finally:
            process.terminate()
            await process.wait()
    workers, keys = zip(*(response.text.split() for response in responses), strict=True)
    assert len(set(workers)) == 2
    assert keys == tuple(server.account(USERS[number]).api_key for number in numbers)
