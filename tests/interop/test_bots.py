"""Bots of other libraries against FakeZulip, with keys that are replaced.

`make interop` installs the libraries and runs the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from helpers.raw_server import wait_until
from helpers.tls import client_context, server_context
from interop.program import EVENTS, PROGRAMS, Program
from zulip_auth import Credentials
from zulip_auth.testing import FakeZulip

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
NODE_MODULES = Path(sys.prefix) / "interop" / "node_modules"


@pytest.fixture
def node() -> str:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "zulip-js").is_dir():
        pytest.skip("zulip-js is not installed: run make interop")
    return node


def require(module: str) -> None:
    pytest.importorskip(module, reason=f"{module} is not installed: run make interop")


@pytest.fixture
def program(fake_zulip: FakeZulip, tmp_path: Path) -> Iterator[Program]:
    program = Program(fake_zulip, tmp_path)
    with program.person.http:
        yield program


@pytest.fixture
def tls_program(tmp_path: Path, test_ca: trustme.CA) -> Iterator[Program]:
    """A bot whose server has a private CA, and requires a certificate of its clients."""
    server_side, person = server_context(test_ca), client_context(test_ca)
    server_side.verify_mode = ssl.CERT_REQUIRED
    test_ca.configure_trust(server_side)
    certificate = test_ca.issue_cert("bot@example.com")
    certificate.configure_cert(person)
    ca, client = tmp_path / "ca.pem", tmp_path / "client.pem"
    test_ca.cert_pem.write_to_path(ca)
    certificate.private_key_and_cert_chain_pem.write_to_path(client)
    with FakeZulip(ssl_context=server_side) as server:
        paths = str(ca), str(client)
        program = Program(server, tmp_path, verify=person, certificates=paths)
        with program.person.http:
            yield program


@pytest.mark.parametrize(
    ("library", "name", "fixture"),
    [
        ("bot_sdk", "async_sdk.py", "program"),
        ("bot_sdk", "async_sdk.py", "tls_program"),
        ("zulip_agent_adapter", "agent_adapter.py", "program"),
        ("zulip_bots", "zulip_bots_rotation.py", "program"),
    ],
)
async def test_rotated_zuliprc(
    library: str, name: str, fixture: str, request: pytest.FixtureRequest
) -> None:
    """With the login layer or the key from zulip-auth, a bot goes on with a new key."""
    require(library)
    program: Program = request.getfixturevalue(fixture)
    # The agent adapter does not acknowledge events, and so polls without a pause.
    program.server._state.calls.limit = 1_000_000
    # The SDK writes its settings next to the program.
    copy = shutil.copy(PROGRAMS / name, program.home)
    async with program.run(sys.executable, copy, program.zuliprc):
        await program.check_replies()
        mark, revoked = program.server.mark(), program.revoke_key()
        program.save_key()
        await program.check_replies()
        assert revoked in program.headers(mark) or library == "zulip_bots"


async def test_zulip_bots(program: Program) -> None:
    """The official framework reads the key once: it has to be restarted."""
    require("zulip_bots")
    run_bot = Path(sys.executable).parent / "zulip-run-bot"
    command = (run_bot, "helloworld", "--config-file", program.zuliprc)
    async with program.run(*command) as process:
        await program.check_replies()
        await program.server.wait_for("POST", "/api/v1/messages/3/reactions")
        reactions = program.server.messages[2].reactions
        assert [reaction["emoji_name"] for reaction in reactions] == ["wave"]
        # With a revoked key, it tries the same request again and again.
        mark, revoked = program.server.mark(), program.revoke_key()
        program.save_key()
        program.server.expire_queues()
        await wait_until(lambda: program.server.mark() >= mark + 3)
        assert program.headers(mark) == {revoked}
        assert process.returncode is None
    async with program.run(*command):
        await program.check_replies()


async def test_zulip_js(program: Program, node: str) -> None:
    """It reads a zuliprc of `Credentials.save`, and sends multipart forms."""
    program.environment["NODE_PATH"] = str(NODE_MODULES)
    server = program.server
    async with program.run(node, PROGRAMS / "echo.js", program.zuliprc):
        await program.check_replies()
        sent = await server.wait_for("POST", "/api/v1/messages", count=2)
        assert sent[1].headers["content-type"].startswith("multipart/form-data")
        # A new client reads the zuliprc again, until the new key is there.
        mark = server.mark()
        program.revoke_key()
        server.expire_queues()
        await server.wait_for("GET", "/api/v1/users/me", since=mark)
        mark = server.mark()
        program.save_key()
        await server.wait_for("GET", EVENTS, since=mark)
        await program.check_replies()
    assert "Invalid API key" in program.output


def test_documented_javascript(fake_zulip: FakeZulip, node: str, tmp_path: Path) -> None:
    fake_zulip.add_user("iago@zulip.com", "secret")
    bot = fake_zulip.add_bot("iago@zulip.com", "Echo")
    (tmp_path / "accounts").mkdir()
    zuliprc = tmp_path / "accounts" / f"{bot.email}.zuliprc"
    Credentials(fake_zulip.site, bot.email, bot.api_key).save(zuliprc)
    text = PAGE.read_text(encoding="utf-8")
    [code] = re.findall(r"^```javascript\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.js").write_text(code)
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(NODE_MODULES)}
    result = subprocess.run(
        [node, "page.js"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("Echo\nsuccess\n", "")
