"""async-zulip-bot-sdk, with its login layer replaced by zulip-auth."""

from __future__ import annotations

import inspect
import re
import shutil
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from helpers.tls import client_context, server_context
from interop.program import PROGRAMS, Program
from zulip_auth import Credentials
from zulip_auth._credentials import basic_auth_header
from zulip_auth.testing import FakeZulip

bot_sdk: Any = pytest.importorskip(
    "bot_sdk", reason="async-zulip-bot-sdk is not installed for this Python"
)


@pytest.fixture
def tls_program(tmp_path: Path, test_ca: trustme.CA) -> Iterator[Program]:
    """A bot whose server has a private CA, and requires a certificate of its clients."""
    server_side, person = server_context(test_ca), client_context(test_ca)
    server_side.verify_mode = ssl.CERT_REQUIRED
    test_ca.configure_trust(server_side)
    certificate = test_ca.issue_cert("bot@example.com")
    certificate.configure_cert(person)
    test_ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    options = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "client")}
    with FakeZulip(ssl_context=server_side) as server:
        yield Program(
            server,
            tmp_path,
            verify=person,
            cert_bundle=options["ca"],
            client_cert=options["client"],
        )


@pytest.mark.parametrize("fixture", ["program", "tls_program"])
async def test_bot_with_rotated_key(fixture: str, request: pytest.FixtureRequest) -> None:
    program: Program = request.getfixturevalue(fixture)
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


def count_lines(code: str) -> int:
    return sum(bool(line.strip()) for line in code.splitlines())


def test_lines_of_the_login_layer(record_property: Any) -> None:
    """The replacement is a quarter of what it replaces, at most."""
    sdk = bot_sdk.async_zulip
    replaced = (
        sdk.get_default_config_filename,
        sdk.validate_boolean_field,
        sdk.ConfigNotFoundError,
        sdk.MissingURLError,
        sdk.AsyncClient.__init__,
        sdk.AsyncClient.ensure_session,
    )
    program = (PROGRAMS / "async_sdk.py").read_text(encoding="utf-8")
    client = program[program.index("class Client") : program.index("class EchoBot")]
    imports = re.findall(r"^(?:import httpx|from zulip_auth).*", program, re.MULTILINE)
    gone = count_lines("".join(inspect.getsource(each) for each in replaced))
    added = count_lines(client) + len(imports)
    record_property("lines", f"{gone} gone, {added} added")
    assert added <= gone / 4
