"""async-zulip-bot-sdk, with its key from an `ApiKeySource`."""

from __future__ import annotations

import shutil
import sys

import pytest

from interop.program import PROGRAMS, Program
from zulip_auth import Credentials
from zulip_auth._credentials import basic_auth_header

pytest.importorskip("bot_sdk", reason="async-zulip-bot-sdk is not installed for this Python")


async def test_bot_with_rotated_zuliprc(program: Program) -> None:
    # The SDK writes its settings next to the program.
    copy = shutil.copy(PROGRAMS / "async_sdk.py", program.home)
    async with program.run(sys.executable, copy, program.zuliprc):
        assert await program.ask_directly() == "beep boop"
        assert await program.ask_in_channel() == "beep boop"
        revoked = basic_auth_header(Credentials.load(program.zuliprc))
        start = len(program.server.requests)
        program.bot.regenerate_api_key()
        program.save_key()
        assert await program.ask_directly() == "beep boop"
        headers = [request.headers["authorization"] for request in program.server.requests[start:]]
        assert revoked in headers
