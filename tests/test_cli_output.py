from __future__ import annotations

import asyncio
import io
import logging
import re
import sys
from typing import Any

import pytest

import zulip_auth
from helpers.cli_runner import CLIRunner, FakeTTY
from helpers.constants import PASSWORD, USERNAME
from helpers.raw_server import ScriptedServer, respond, succeed
from zulip_auth._cli import output, progress
from zulip_auth._cli.progress import Progress
from zulip_auth.testing import FakeZulip

BUSY = {"result": "error", "msg": "Busy", "code": "RATE_LIMIT_HIT"}


def use_fake_tty(monkeypatch: pytest.MonkeyPatch) -> FakeTTY:
    """Make both outputs a terminal. (Not a fixture, since pytest would replace them again.)"""
    terminal = FakeTTY()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return terminal


class FailingStream(io.StringIO):
    """An output that fails in one way or another."""

    encoding = "ascii"

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self._troubles = [trouble]

    def write(self, text: str, /) -> int:
        if self._troubles and text.strip():
            raise self._troubles.pop()
        return super().write(text)


# ---- Standard output


def test_unencodable_output(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="ascii"))
    output.print_output("é\nthe rest")
    assert data.getvalue() == b"\\xe9\nthe rest\n"


def test_closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", FailingStream(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(output.OutputError, match=r"^Broken pipe$"):
        output.print_output("text")


def test_missing_outputs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    output.print_err("The URL contains a pad.")
    output.print_error("No.")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(output.OutputError, match="standard output is closed"):
        output.print_output("key")


CONTROLS = "\x1b[2J \x9b2J \u202eevil\u202c \u2066x\u2069 \u200f \r \t"


def test_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    output.print_output(f"one\n{CONTROLS}")
    output.print_error(CONTROLS)
    shown = "?[2J ?2J ?evil? ?x? ? ? ?\n"
    assert terminal.getvalue() == f"one\n{shown}zulip-auth: {shown}"


def test_control_characters_in_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """A file must get what it is meant to contain."""
    output.print_output("\u202e")
    assert capsys.readouterr().out == "\u202e\n"


# ---- Width


def test_errors_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a-long/path/" * 5
    output.print_error(f"Could not read the file {path}: permission denied.")
    lines = without_control(terminal.getvalue()).splitlines()
    assert lines == ["zulip-auth: Could not read the file", path + ":", "permission denied."]


@pytest.mark.parametrize(("columns", "width"), [("200", 79), ("80", 79), ("50", 49)])
def test_errors_are_no_wider_than_the_terminal(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv("COLUMNS", columns)
    output.print_error("word " * 100)
    longest = max(map(len, without_control(terminal.getvalue()).splitlines()))
    assert width - 5 <= longest <= width


def test_output_is_wrapped(home: CLIRunner, fake_zulip: FakeZulip) -> None:
    fake_zulip.add_user(USERNAME, PASSWORD)
    argv = ("login", fake_zulip.site, USERNAME, "--dev", "--show-key")
    with home.session(*argv, columns=40, TERM="xterm") as session:
        assert session.wait() == 0
    prose = session.screen.replace(str(home.zuliprc), "PATH").splitlines()
    assert max(map(len, prose)) < 40
    assert f"Logged in to {fake_zulip.site} as {USERNAME} (user 10)." in " ".join(prose)
    with home.session(*argv, "--config", "-", columns=20, TERM="xterm") as session:
        assert session.wait() == 0
    assert re.search(r"^key = \w{32}$", session.screen, re.MULTILINE)  # to copy


# ---- Colors


def test_error_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = use_fake_tty(monkeypatch)
    output.print_output("Logged in.\nThe rest.")
    output.print_error("No.")
    assert terminal.getvalue() == ("Logged in.\nThe rest.\n\x1b[31mzulip-auth:\x1b[0m No.\n")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setenv(name, value)
    output.print_output("Logged in.")
    output.print_error("No.")
    assert terminal.getvalue() == "Logged in.\nzulip-auth: No.\n"


# ---- Waiting


def without_control(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", shown)


async def login_with_progress(site: str) -> None:
    status = Progress("Logging in…")
    with status.log(), status.request():
        await zulip_auth.login(site, USERNAME, PASSWORD)


async def test_countdown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    async with ScriptedServer(respond(429, BUSY, {"Retry-After": "0.35"}), succeed) as server:
        await login_with_progress(server.site)
    first, *lines, last = terminal.getvalue().split("\r\x1b[K")
    assert (first, last) == ("", "")
    assert len(lines) >= 3
    seconds = [
        re.fullmatch(r"server busy; retrying in (0.[0-3]) s \(attempt 2 of 5\)", line)
        for line in lines
    ]
    counted = [float(each[1]) for each in seconds if each]
    assert len(counted) == len(lines)
    assert counted == sorted(counted, reverse=True)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(False, "cannot connect"), (True, "connection lost"), (None, "server busy")],
)
async def test_countdown_reason(
    sent: bool | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = use_fake_tty(monkeypatch)
    status = Progress("Logging in…")
    with status.log(), status.request():
        log = logging.getLogger("zulip_auth")
        message = "%s Retrying in %.1f s (attempt %d of %d)."
        log.info(message, "No.", 9.0, 2, 5, extra={"sent": sent})
        assert terminal.getvalue().startswith(f"\r\x1b[K{reason}; retrying in 9.0 s")
        log.warning("Something %s.", "else")
        log.warning("And more.")
    assert terminal.getvalue().endswith(
        "\r\x1b[K\x1b[31mzulip-auth:\x1b[0m Something else.\n\x1b[31mzulip-auth:\x1b[0m And more.\n"
    )


async def test_slow_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is shown again after the countdown, and removed in the end."""
    monkeypatch.setattr(progress, "_PATIENCE", 0)
    terminal = use_fake_tty(monkeypatch)
    async with ScriptedServer(respond(429, BUSY, {"Retry-After": "0.05"}), succeed) as server:
        await login_with_progress(server.site)
    shown = terminal.getvalue().split("\r\x1b[K")
    assert (shown[:2], shown[-1]) == (["", "Logging in…"], "")
    assert any("server busy" in line for line in shown)


async def test_fast_request_has_no_status(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE", 60)
    async with ScriptedServer(succeed) as server:
        await login_with_progress(server.site)
    assert terminal.getvalue() == ""


async def test_cancelled_countdown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_fake_tty(monkeypatch)
    async with ScriptedServer(respond(429, BUSY, {"Retry-After": "9"})) as server:
        waiting = asyncio.create_task(login_with_progress(server.site))
        async with asyncio.timeout(10):
            while "server busy" not in terminal.getvalue():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert terminal.getvalue().endswith("\r\x1b[K")


async def test_retries_without_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with ScriptedServer(respond(429, BUSY, {"Retry-After": "0.1"}), succeed) as server:
        await login_with_progress(server.site)
    line = "zulip-auth: server busy; retrying in 0.1 s (attempt 2 of 5)\n"
    assert capsys.readouterr().err == line


def test_logger_is_restored() -> None:
    log = logging.getLogger("zulip_auth")
    before: tuple[Any, int] = (list(log.handlers), log.level)
    with Progress("Logging in…").log():
        assert log.level == logging.INFO
    assert (log.handlers, log.level) == before


@pytest.mark.slow
def test_slow_login_on_pty(home: CLIRunner, fake_zulip: FakeZulip) -> None:
    fake_zulip.add_user(USERNAME, PASSWORD)
    fake_zulip.fail_next("/api/v1/dev_fetch_api_key", delay=1.3)
    _, shown = home.run_in_pty("login", fake_zulip.site, USERNAME, "--dev", TERM="xterm")
    assert shown.startswith("\r\x1b[KLogging in…\r\x1b[KLogged in to ")


def test_countdown_in_narrow_terminal(home: CLIRunner) -> None:
    """A longer line would scroll, and stay on the terminal."""
    argv = ("login", "127.0.0.1:1", USERNAME, "--dev")
    with home.session(*argv, columns=40, TERM="xterm") as session:
        session.wait()
    counting = [
        line for line in session.screen.split("\r\x1b[K") if line.startswith("cannot connect")
    ]
    assert counting
    assert {len(line) for line in counting} == {39}
