"""The event loop: that it is asyncio's, and that nothing stops it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import certifi
import pytest
import trustme

from helpers.constants import PASSWORD, USERNAME
from helpers.raw_server import ScriptedServer, succeed
from helpers.tls import server_context
from zulip_auth._event_loop import get_asyncio_loop, run_in_thread

FIRST_LOGIN = Path(__file__).parent.parent / "benchmarks" / "first_login.py"


@pytest.mark.slow
async def test_first_login_does_not_stop_the_loop(test_ca: trustme.CA, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(Path(certifi.where()).read_bytes() + test_ca.cert_pem.bytes())
    env = {**os.environ, "SSL_CERT_FILE": str(bundle)}
    stops: list[float] = []
    async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
        while not stops or (min(stops) > 0.1 and len(stops) < 3):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, FIRST_LOGIN, server.site, USERNAME, PASSWORD),
                stdout=asyncio.subprocess.PIPE,
                env=env,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0
            stops.append(float(output))
        assert len(server.requests) == len(stops)
    assert min(stops) <= 0.1, stops  # without threads, some 0.3


def test_no_running_loop() -> None:
    with pytest.raises(RuntimeError, match="requires a running asyncio event loop") as info:
        get_asyncio_loop()
    assert info.value.__context__ is None


async def test_run_in_thread() -> None:
    thread = await run_in_thread(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon  # one that blocks does not block the exit of the program
    for error in (ValueError("reason"), SystemExit(3)):
        with pytest.raises(type(error)) as info:
            await run_in_thread(Mock(side_effect=error))
        assert info.value is error


async def test_cancelled_call() -> None:
    """The function runs to its end."""
    is_released, has_ended = threading.Event(), threading.Event()

    def block() -> None:
        is_released.wait(60)
        has_ended.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await run_in_thread(block)
    is_released.set()
    assert await run_in_thread(lambda: has_ended.wait(60))
