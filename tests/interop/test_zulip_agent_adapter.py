"""zulip-agent-adapter, with its key from an `ApiKeySource`."""

from __future__ import annotations

import sys

import pytest

from interop.program import PROGRAMS, Program
from zulip_auth import Credentials
from zulip_auth._credentials import basic_auth_header

pytest.importorskip(
    "zulip_agent_adapter", reason="zulip-agent-adapter is not installed for this Python"
)


async def test_bot_with_rotated_zuliprc(program: Program) -> None:
    # The adapter does not acknowledge events, and so polls without a pause.
    program.server._state.calls.limit = 1_000_000
    async with program.run(sys.executable, PROGRAMS / "agent_adapter.py", program.zuliprc):
        assert await program.ask_directly() == "beep boop"
        assert await program.ask_in_channel() == "beep boop"
        revoked = basic_auth_header(Credentials.load(program.zuliprc))
        start = len(program.server.requests)
        program.bot.regenerate_api_key()
        program.save_key()
        assert await program.ask_directly() == "beep boop"
        headers = [request.headers["authorization"] for request in program.server.requests[start:]]
        assert revoked in headers
