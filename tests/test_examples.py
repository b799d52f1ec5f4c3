"""The examples do what they say, each run as its reader would run it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE

import pytest
import wire
from leaks import Leaks

import zulip_auth
from zulip_auth import Credentials
from zulip_auth.testing import FakeZulip

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
USERNAME, PASSWORD = "iago@zulip.com", "correct horse & battery=+%é"


@pytest.mark.parametrize("name", NAMES)
def test_every_example_has_tests_here_and_a_row_in_their_readme(name: str) -> None:
    stem = name.removesuffix(".py").removeprefix("test_")
    assert [each for each in globals() if each.startswith(f"test_{stem}_")]
    [row] = re.findall(
        rf"^\| \[{re.escape(name)}\]\({re.escape(name)}\) \|.*\|$", README, re.MULTILINE
    )
    assert name.removesuffix(".py") in row.rpartition("` | `")[2]


def test_their_readme_lists_no_other_file() -> None:
    assert sorted(re.findall(r"^\| \[(\S+)\]", README, re.MULTILINE)) == NAMES


# ---- Running them


def count(server: FakeZulip, path: str) -> int:
    """Return how often an endpoint was asked."""
    return sum(request.path == f"/api/v1/{path}" for request in server.requests)


class Ran:
    """How a program has ended, and what it wrote; there is no secret in that."""

    def __init__(self, code: int | None, out: bytes, err: bytes, leaks: Leaks) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()
        leaks.check(self.out, "standard output")
        leaks.check(self.err, "standard error")

    def failed_with(self, words: str) -> bool:
        """Tell whether it has ended with one line on standard error that has some words in it."""
        assert (self.code, self.out, self.err.count("\n")) == (1, "", 1), self.err
        return words in self.err


@pytest.fixture
def leaks(fake_zulip: FakeZulip) -> Leaks:
    account = fake_zulip.add_user(USERNAME, PASSWORD)
    return Leaks(PASSWORD, account.api_key, wire.API_KEY)


async def start(home: Path, *command: object, **more: str) -> asyncio.subprocess.Process:
    """Start Python where no other zuliprc than the home's is found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZULIP_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *map(str, command)),
        env={**kept, "HOME": str(home), **more},
        cwd=home,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )


async def run(home: Path, leaks: Leaks, *command: object, password: str = PASSWORD) -> Ran:
    process = await start(home, *command)
    out, err = await process.communicate(password.encode() + b"\n")
    return Ran(process.returncode, out, err, leaks)


# ---- asyncio_script.py

ASYNCIO_SCRIPT = EXAMPLES / "asyncio_script.py"


async def test_asyncio_script_logs_in_and_keeps_the_credentials(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: Leaks
) -> None:
    fake_zulip.account(USERNAME).full_name = "Iago"
    ran = await run(tmp_path, leaks, ASYNCIO_SCRIPT, fake_zulip.site, USERNAME)
    assert (ran.code, ran.out, ran.err) == (0, "Logged in as Iago.\n", "")
    file = tmp_path / ".zuliprc"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Credentials.load(file).api_key == fake_zulip.account(USERNAME).api_key


async def test_asyncio_script_says_why_it_could_not(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: Leaks
) -> None:
    file = tmp_path / ".zuliprc"
    arguments = (ASYNCIO_SCRIPT, fake_zulip.site, USERNAME)
    ran = await run(tmp_path, leaks, *arguments, password="a guess")
    assert ran.failed_with("4 attempts are left.")
    ran = await run(tmp_path, leaks, ASYNCIO_SCRIPT, "http://chat.example.com", USERNAME)
    assert ran.failed_with("chat.example.com")
    assert not file.exists()
    async with wire.WireServer(wire.succeed, wire.answer(500)) as server:
        ran = await run(tmp_path, leaks, ASYNCIO_SCRIPT, server.site, USERNAME)
    assert ran.failed_with("Logged in, but the call failed: HTTPStatusError")
    assert file.exists()  # so that nobody has to log in again
    ran = await run(tmp_path, leaks, *arguments)
    assert ran.failed_with("something else than this account")


def test_asyncio_script_asks_for_the_password_on_a_terminal_without_echo(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: Leaks
) -> None:
    master, slave = pty.openpty()
    on_the_terminal = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
    script = (sys.executable, ASYNCIO_SCRIPT, fake_zulip.site, USERNAME)
    process = subprocess.Popen(
        [sys.executable, "-c", on_the_terminal, *script],
        env={**os.environ, "ZULIP_CONFIG": str(tmp_path / "zuliprc")},
        stdin=slave,
    )
    os.close(slave)
    shown = b""
    while b"Password: " not in shown:
        shown += os.read(master, 1024)
    os.write(master, PASSWORD.encode() + b"\n")
    with suppress(OSError):  # how Linux says that the other side is gone
        while data := os.read(master, 1024):
            shown += data
    os.close(master)
    assert process.wait(10) == 0
    assert b"Logged in as " in shown
    leaks.check(shown.decode(), "the terminal")


# ---- aiohttp_client.py and official_client.py, which want a zuliprc


@pytest.fixture
async def zuliprc(fake_zulip: FakeZulip, tmp_path: Path, leaks: Leaks) -> Path:
    path = tmp_path / ".zuliprc"
    (await zulip_auth.login(fake_zulip.site, USERNAME, PASSWORD)).save(path)
    fake_zulip.account(USERNAME).full_name = "Iago"
    return path


@pytest.mark.parametrize("name", ["aiohttp_client.py", "official_client.py"])
async def test_aiohttp_client_and_official_client_use_the_zuliprc(
    name: str, zuliprc: Path, tmp_path: Path, leaks: Leaks
) -> None:
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    for home, arguments in ((tmp_path, ()), (elsewhere, (zuliprc,))):
        ran = await run(home, leaks, EXAMPLES / name, *arguments)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.endswith(" Iago.\n")
    ran = await run(elsewhere, leaks, EXAMPLES / name)
    assert ran.failed_with(f"{elsewhere}/.zuliprc cannot be read")


async def test_aiohttp_client_says_that_the_key_was_revoked(
    fake_zulip: FakeZulip, zuliprc: Path, tmp_path: Path, leaks: Leaks
) -> None:
    fake_zulip.account(USERNAME).regenerate_api_key()
    ran = await run(tmp_path, leaks, EXAMPLES / "aiohttp_client.py")
    assert ran.failed_with("The server answered 401. The key is wrong or was revoked")


async def test_aiohttp_client_takes_the_key_nowhere_else(
    fake_zulip: FakeZulip, tmp_path: Path, leaks: Leaks
) -> None:
    async with wire.WireServer(wire.answer(200)) as other:
        away = wire.answer(302, headers={"location": f"http://localhost:{other.port}/"})
        async with wire.WireServer(away) as server:
            Credentials(server.site, USERNAME, wire.API_KEY).save(tmp_path / ".zuliprc")
            ran = await run(tmp_path, leaks, EXAMPLES / "aiohttp_client.py")
        assert server.requests[0].headers["authorization"].startswith("Basic ")
        assert (other.connections, ran.failed_with("The server answered 302.")) == (0, True)


async def test_official_client_gets_another_key_for_the_one_that_was_revoked(
    fake_zulip: FakeZulip, zuliprc: Path, tmp_path: Path, leaks: Leaks
) -> None:
    account = fake_zulip.account(USERNAME)
    account.regenerate_api_key()
    official = EXAMPLES / "official_client.py"
    ran = await run(tmp_path, leaks, official, password="a guess")
    assert (ran.code, "4 attempts are left." in ran.err) == (1, True)
    ran = await run(tmp_path, Leaks(PASSWORD, account.api_key), official)
    assert (ran.code, ran.err) == (0, f"The key of {USERNAME} was revoked.\n")
    assert Credentials.load(zuliprc).api_key == account.api_key
    logins = count(fake_zulip, "fetch_api_key")
    assert (await run(tmp_path, leaks, official)).code == 0
    assert count(fake_zulip, "fetch_api_key") == logins
