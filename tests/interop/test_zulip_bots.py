"""The official framework: `zulip-run-bot helloworld`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from interop.program import PROGRAMS, Program

pytest.importorskip("zulip_bots", reason="zulip_bots is not installed: run make interop")


async def test_helloworld(program: Program, bin_directory: Path) -> None:
    command = (bin_directory / "zulip-run-bot", "helloworld", "--config-file", program.zuliprc)
    async with program.run(*command) as process:
        assert await program.ask_directly() == "beep boop"
        assert await program.ask_in_channel() == "beep boop"
        await program.server.wait_for("POST", "/api/v1/messages/3/reactions")
        reactions = program.server._state.messages[3].reactions
        assert [reaction["emoji_name"] for reaction in reactions] == ["wave"]
        # The library reads the key once. With a revoked key, the bot polls until it is restarted.
        program.bot.regenerate_api_key()
        program.save_key()
        program.server.expire_queues()
        await program.wait_for_polls(program.count("GET", "/api/v1/events") + 2)
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
