"""The official framework: `zulip-run-bot helloworld`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers.raw_server import wait_until
from interop.program import PROGRAMS, Program
from zulip_auth import Credentials
from zulip_auth._credentials import basic_auth_header

pytest.importorskip("zulip_bots", reason="zulip_bots is not installed: run make interop")


async def test_helloworld(program: Program, bin_directory: Path) -> None:
    command = (bin_directory / "zulip-run-bot", "helloworld", "--config-file", program.zuliprc)
    async with program.run(*command) as process:
        assert await program.ask_directly() == "beep boop"
        assert await program.ask_in_channel() == "beep boop"
        await program.server.wait_for("POST", "/api/v1/messages/3/reactions")
        reactions = program.server._state.messages[3].reactions
        assert [reaction["emoji_name"] for reaction in reactions] == ["wave"]
        # The library reads the key once. With a revoked key, it tries the same request again
        # until it is restarted: it polls, or registers a queue if it was polling.
        revoked = basic_auth_header(Credentials.load(program.zuliprc))
        start = len(program.server.requests)
        program.bot.regenerate_api_key()
        program.save_key()
        program.server.expire_queues()
        await wait_until(lambda: len(program.server.requests) >= start + 3)
        headers = {request.headers["authorization"] for request in program.server.requests[start:]}
        assert headers == {revoked}
        assert process.returncode is None
    async with program.run(*command):
        assert await program.ask_directly() == "beep boop"


async def test_helloworld_with_rotated_zuliprc(program: Program) -> None:
    command = (sys.executable, PROGRAMS / "zulip_bots_rotation.py", program.zuliprc)
    async with program.run(*command):
        assert await program.ask_directly() == "beep boop"
        program.bot.regenerate_api_key()
        program.save_key()
        assert await program.ask_directly() == "beep boop"
        assert await program.ask_in_channel() == "beep boop"
