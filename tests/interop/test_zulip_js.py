"""zulip-js, with a zuliprc that `Credentials.save` wrote. It sends multipart forms."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from interop.program import PROGRAMS, Program

MODULES = Path(sys.prefix) / "interop" / "node_modules"


@pytest.fixture
def node() -> str:
    path = shutil.which("node")
    if path is None:
        pytest.skip("Node.js is not installed")
    if not (MODULES / "zulip-js").is_dir():
        pytest.skip("zulip-js is not installed: run make interop")
    return path


async def test_zulip_js(program: Program, node: str) -> None:
    program.environment["NODE_PATH"] = str(MODULES)
    server, bot = program.server, program.bot
    async with program.run(node, PROGRAMS / "echo.js", program.zuliprc):
        assert await program.ask_directly() == "beep boop"
        sent = await server.wait_for("POST", "/api/v1/messages", count=2)
        assert sent[1].headers["content-type"].startswith("multipart/form-data")
        assert await program.ask_in_channel() == "beep boop"
        # A new client reads the zuliprc again, until the new key is there.
        profiles = program.count("GET", "/api/v1/users/me")
        bot.regenerate_api_key()
        server.expire_queues()
        await server.wait_for("GET", "/api/v1/users/me", count=profiles + 1)
        polls = program.count("GET", "/api/v1/events")
        program.save_key()
        await program.wait_for_polls(polls + 1)
        assert await program.ask_directly() == "beep boop"
    assert "Invalid API key" in program.output
